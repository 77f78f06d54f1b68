"""The page of settings says what the settings say."""

from __future__ import annotations

from pathlib import Path

import pytest

from loratorio_ext.run import cost
from loratorio_ext.server.presets import OURS
from loratorio_ext.settings import SETTINGS, Setting, Settings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "settings.md").read_text("utf-8")
SHOWN = [one for one in SETTINGS if one.name != "enabled"]


@pytest.mark.parametrize("setting", SHOWN, ids=lambda one: one.name)
def test_the_page_lists_every_setting_as_declared(setting: Setting) -> None:
    allowed = ", ".join(f"`{choice}`" for choice in setting.choices)
    if setting.type is str and not setting.choices:
        allowed = "text"
    elif not setting.choices:
        allowed = f"{setting.minimum:g} to {setting.maximum:g}"
    first = setting.help.split(". ")[0].rstrip(".")
    row = f"| `--{setting.name.replace('_', '-')}` | {setting.default} | {allowed} | {first}. |"
    assert row in PAGE


def test_the_page_explains_every_setting_in_full() -> None:
    expected = "\n\n".join(
        f"### {one.label}\n\n`{one.name}`, in the infotext `{one.infotext}`. {one.help}" for one in SHOWN
    )
    assert PAGE.partition("## In full\n\n")[2] == f"{expected}\n", expected


@pytest.mark.parametrize("name", OURS)
def test_the_page_says_what_a_preset_sets(name: str) -> None:
    defaults = Settings()
    changed = [
        f"`{key}` {value:g}" if isinstance(value, float) else f"`{key}` {value}"
        for key, value in OURS[name].items()
        if value != getattr(defaults, key)
    ]
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {name} | ")]
    sets = line.split(" | ")[1]
    assert sorted(sets.split(", ")) == sorted(changed or ["the defaults"])


@pytest.mark.parametrize("steps", [4, 8, 20])
def test_what_looks_cost_with_few_steps(steps: int) -> None:
    ratios = [sum(cost(Settings(looks=looks), 3, False, total=steps)) / steps for looks in (1, 2, 4)]
    row = f"| {steps} | {' | '.join(f'{ratio + 1e-9:.2f} ×' for ratio in ratios)} |"
    assert row in (DOCS / "choosing.md").read_text("utf-8")
