"""The WebUI's hooks and callbacks, handed on to the generation that they belong to."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from loratorio_ext.hosts.a1111.conditions import ConditionStore, forget
from loratorio_ext.hosts.a1111.generation import SPEAKER, Generation
from loratorio_ext.settings import Settings

logger = logging.getLogger("loratorio")

# The attribute of p that holds its generation; scripts that copy p copy it too.
_ATTRIBUTE = "loratorio"

COMMENTS = "LoRAtorio comments"
"""The key of what could not be done in the API's ``info``, under ``extra_generation_params``."""


class A1111Host:
    """Called by the script; one for each tab."""

    def __init__(self) -> None:
        """Nothing is asked of the WebUI yet."""
        self._store = ConditionStore()

    def start(self, p: Any, settings: Settings) -> None:
        """A generation begins (``process``); may be called again for the same ``p``."""
        self.forget(p)
        if settings.enabled:
            setattr(p, _ATTRIBUTE, Generation(settings, self._store))

    def refuse(self, p: Any, problem: str) -> None:
        """The settings cannot be used: nothing is composed, and the reason is said."""
        self.forget(p)
        logger.warning("%s; nothing is composed", problem)
        p.comment(f"{SPEAKER}{problem}; nothing is composed, the networks act merged, the usual way")

    def forget(self, p: Any) -> None:
        """Leave ``p`` as the WebUI made it."""
        if hasattr(p, _ATTRIBUTE):
            delattr(p, _ATTRIBUTE)
            forget(p)

    def networks_activated(self, p: Any, extra_network_data: Mapping[str, Iterable[Any]]) -> None:
        """``after_extra_networks_activate``."""
        generation = generation_of(p)
        if generation is not None:
            generation.networks_activated(p, extra_network_data)

    def finished(self, p: Any, processed: Any) -> None:
        """``postprocess``."""
        generation = generation_of(p)
        if generation is not None:
            generation.finished(p)
        said = [text.removeprefix(SPEAKER) for text in p.comments if text.startswith(SPEAKER)]
        if said:
            # The API's answer leaves comments out, but not these. A dict of its own: p's may be used again.
            processed.extra_generation_params = {
                **processed.extra_generation_params,
                COMMENTS: "; ".join(said),
            }


def generation_of(p: Any) -> Generation | None:
    """LoRAtorio's part of this generation, if it has one."""
    generation = getattr(p, _ATTRIBUTE, None)
    return generation if isinstance(generation, Generation) else None


class DenoiserCallbacks:
    """The pair of callbacks around a model call; the second is not told whose call it was."""

    def __init__(self) -> None:
        """Between two calls nothing is remembered."""
        self._p: weakref.ref[Any] | None = None

    def before_call(self, params: Any) -> None:
        """``on_cfg_denoiser``."""
        self._p = None
        p = params.denoiser.p
        generation = generation_of(p)
        if generation is not None:
            self._p = weakref.ref(p)
            generation.before_call(p, params)

    def after_call(self, params: Any) -> None:
        """``on_cfg_denoised``."""
        p = self._p() if self._p is not None else None
        self._p = None
        generation = None if p is None else generation_of(p)
        if generation is not None:
            generation.after_call(p, params.x)
