"""What the panel answers when a value on the page has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loratorio_ext.networks.prompt import choose_pool
from loratorio_ext.server.estimate import estimate
from loratorio_ext.server.presets import PRESET_SETTINGS, Preset
from loratorio_ext.server.server import Server
from loratorio_ext.settings import SETTINGS, Settings
from loratorio_ext.ui.panel.around import Around
from loratorio_ext.ui.panel.cost_html import cost_html, problem_html


def settings_of(values: Sequence[object]) -> Settings:
    """Settings from the values of the panel's controls.

    Raises:
        ValueError: as `Settings`; a number's box that was emptied has None.
    """
    return Settings.from_dict({one.name: value for one, value in zip(SETTINGS, values, strict=False)})


def cost_of(server: Server, around: Around, values: Sequence[object]) -> str:
    """The cost line as HTML.

    Args:
        server: asked anew.
        around: what stands around the panel.
        values: of ``around.inputs``, then of the panel's controls.
    """
    places = len(around.inputs)
    prompt, plan = around.read(values[:places], server)
    words = server.words()
    try:
        settings = settings_of(values[places:])
    except ValueError as error:
        return problem_html(str(error))
    found = estimate(prompt, replace(settings, enabled=True), server.networks(), plan, words)
    return cost_html(found, server.obstacle(), settings.enabled, words)


def preset_of(server: Server, values: Sequence[object]) -> str | None:
    """The name of the preset that has the values of the panel's controls, or None."""
    try:
        chosen = settings_of(values).to_dict()
    except ValueError:
        return None
    presets = server.presets.all().items()
    return next((name for name, preset in presets if _is(preset, chosen)), None)


def count_of_pool(server: Server, pool: object) -> str:
    """How many networks a pool means, in words."""
    words = server.words()
    if not isinstance(pool, str) or not pool.strip():
        return words("The pool is empty: only the networks of the prompt take part.")
    known = server.networks()
    chosen, _ = choose_pool(pool, known)
    count = len({known[name] for name in chosen})
    if count == 1:
        return words("The pool has 1 network.")
    return words("The pool has {count} networks.", count=count)


def _is(preset: Preset, values: Preset) -> bool:
    return all(preset[one.name] == values[one.name] for one in PRESET_SETTINGS)
