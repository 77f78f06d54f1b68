"""What the script needs from a WebUI: server, hooks for each tab, callbacks around model calls, API."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loratorio_ext.hosts.webuis.adapter import ExtraNetworkData, Network
from loratorio_ext.hosts.webuis.comments import forget_comments, put_into_answer, say
from loratorio_ext.hosts.webuis.conditions import ConditionStore
from loratorio_ext.hosts.webuis.generation import Generation
from loratorio_ext.hosts.webuis.hooks import Hooks, begin, forget, generation_of, is_copy
from loratorio_ext.hosts.webuis.networks import Pool, path_below
from loratorio_ext.hosts.webuis.postprocess import Overlay, Postprocess
from loratorio_ext.networks.files import NO_TRIGGERS, TriggerReader, Triggers, changed_at, made_for
from loratorio_ext.networks.prompt import Repeated
from loratorio_ext.server.history import History
from loratorio_ext.server.options import Options
from loratorio_ext.server.presets import Presets
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words, words_in
from loratorio_ext.settings import Settings

if TYPE_CHECKING:
    from loratorio_ext.hosts.webuis.webui import WebuiServices


@dataclass(frozen=True)
class Webui:
    """A running WebUI; made once, since its tabs, pages and API share what is in it.

    Attributes:
        server: for pages and API.
        begin: makes LoRAtorio's part of a generation from the settings and the tab's encoded prompts.
        services: of the adapter; None where nothing can be composed.
    """

    server: Server
    begin: Callable[[Settings, ConditionStore], Hooks]
    services: WebuiServices | None = None

    def host(self, overlay: Overlay | None = None) -> Host:
        """What the script calls; one for each tab.

        Args:
            overlay: draws the picture of who spoke where, shown beside the others where the user wants it.
        """
        services = self.services
        return Host(self.begin, None if services is None else Postprocess(services, self.server, overlay))


def webui_of(
    services: WebuiServices,
    generation: Callable[..., Generation[Network]],
    network_of_pool: Callable[[str, str], Network],
    *,
    merged_on_top: bool,
    uncond_at_cfg_1: bool,
    repeated: Repeated,
    all_or_none: bool = False,
) -> Webui:
    """The WebUI of an adapter; its server asks the WebUI afresh each time.

    Args:
        services: what the adapter answers apart from generations.
        generation: the adapter's subclass of `Generation`.
        network_of_pool: (name, file) → a network at strength 1 that no tag names.
        merged_on_top: see `Server`.
        uncond_at_cfg_1: see `Server`.
        repeated: see `Server`.
        all_or_none: see `Server`.
    """

    def options() -> Options:
        return Options.from_values(services.option_values())

    def networks() -> dict[str, str]:
        folder = services.network_folder()
        return {name: path_below(file, folder) for name, file in services.available_files().items()}

    reader = TriggerReader()

    def triggers(name: str) -> Triggers:
        file = services.available_files().get(name)
        return NO_TRIGGERS if file is None else reader.of(file)

    # Asked at every key; a file that has changed is read again.
    model_of_file = lru_cache(maxsize=1024)(lambda file, changed: made_for(file))

    def misfit(name: str) -> str | None:
        named, loaded = services.available_files().get(name), services.model_name()
        if named is None or loaded is None:
            return None
        file = Path(named)
        found = model_of_file(file, changed_at(file))
        return None if found is None or loaded in found else found

    server = Server(
        host=services.name,
        version=services.version(),
        history=History(lambda: options().limits_of_history),
        presets=Presets(Path(services.presets_file())),
        networks=networks,
        refresh=services.refresh_networks,
        options=options,
        words=lambda: words_in(services.language()),
        obstacle=services.obstacle,
        merged_on_top=merged_on_top,
        uncond_at_cfg_1=uncond_at_cfg_1,
        splits_at_and=True,
        repeated=repeated,
        all_or_none=all_or_none,
        triggers=triggers,
        remark=services.remark,
        misfit=misfit,
    )
    pool = Pool(services, network_of_pool, reader)
    return Webui(
        server, lambda settings, store: generation(settings, store, pool, options, services), services
    )


def unsupported_webui(obstacle: str) -> Webui:
    """A WebUI that cannot be asked: it has nothing but our own page, and every generation says why."""
    options = Options()
    server = Server(
        host="an unknown WebUI",
        version="",
        history=History(lambda: options.limits_of_history),
        presets=Presets(None),
        networks=dict,
        refresh=lambda: None,
        options=lambda: options,
        words=Words,
        obstacle=lambda: obstacle,
        merged_on_top=False,
    )
    return Webui(server, lambda settings, store: Unsupported(obstacle))


class Host:
    """One tab's generations. Hooks that are not here are those of `generation_of`."""

    def __init__(
        self, make: Callable[[Settings, ConditionStore], Hooks], postprocess: Postprocess | None
    ) -> None:
        """See `Webui`; prompts encoded here are kept from one generation to the next."""
        self._make = make
        self._postprocess = postprocess
        self._store = ConditionStore()

    def start(self, p: Any, settings: Settings) -> None:
        """A generation begins (``process``); may be called again for the same ``p``."""
        _forget(p)
        if settings.enabled:
            begin(p, self._make(settings, self._store))

    def refuse(self, p: Any, problem: str) -> None:
        """The settings cannot be used: nothing is composed, and the reason is said."""
        _forget(p)
        say(p, f"{problem}; nothing is composed, the networks act merged, the usual way")

    def finished(self, p: Any, processed: Any) -> None:
        """The pictures are finished (``postprocess``); ADetailer says so of a copy when they are not."""
        if is_copy(p):
            return
        generation = generation_of(p)
        generation.finished(p)
        passes = [one for one in generation.passes if one.report.steps]
        if passes and self._postprocess is not None:
            self._postprocess(p, processed, passes)
        put_into_answer(p, processed)


def _forget(p: Any) -> None:
    """Drop what an earlier generation left, but not from the original of a copy, which shares its dicts."""
    p.comments, p.extra_generation_params = dict(p.comments), dict(p.extra_generation_params)
    forget_comments(p)
    forget(p)


class DenoiserCallbacks:
    """The pair of callbacks around a model call; the second is not told whose call it was."""

    def __init__(self) -> None:
        self._p: weakref.ref[Any] | None = None

    def before_call(self, params: Any) -> None:
        """``on_cfg_denoiser``, with CFGDenoiserParams."""
        p = params.denoiser.p
        self._p = weakref.ref(p)
        generation_of(p).before_call(p, params)

    def after_call(self, params: Any) -> None:
        """``on_cfg_denoised``, with CFGDenoisedParams; Forge never calls it."""
        p = None if self._p is None else self._p()
        self._p = None
        if p is not None:
            generation_of(p).after_call(p, params.x)


class Unsupported(Hooks):
    """Takes the place of a generation's part where nothing can be composed: says so and does nothing."""

    def __init__(self, obstacle: str) -> None:
        """``obstacle``: what is in the way."""
        self._obstacle = obstacle

    def networks_activated(self, p: Any, data: ExtraNetworkData) -> None:
        """Say so once."""
        say(
            p,
            f"{self._obstacle}, so the networks act merged, the usual way; LoRAtorio composes in "
            "AUTOMATIC1111's WebUI, in Forge, Forge Neo, reForge and Forge Classic",
        )
