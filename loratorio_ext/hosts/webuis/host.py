"""The hooks of a generation, handed on to LoRAtorio's part of it, which lives on ``p`` and goes with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from loratorio_ext.hosts.webuis.comments import forget_comments, put_into_answer, say
from loratorio_ext.hosts.webuis.conditions import ConditionStore, use_the_webui_s_caches
from loratorio_ext.hosts.webuis.infotext import forget_infotext
from loratorio_ext.hosts.webuis.tags import ExtraNetworkData
from loratorio_ext.server.history import PassRecord
from loratorio_ext.settings import Settings

# The attribute of p that holds its generation; scripts that copy p copy it too.
_ATTRIBUTE = "loratorio"


class GenerationLike(Protocol):
    """LoRAtorio's part of one generation."""

    @property
    def passes(self) -> Sequence[PassRecord]:
        """The sampling passes that composed, in their order."""

    def networks_activated(self, p: Any, data: ExtraNetworkData) -> None:
        """``after_extra_networks_activate``."""

    def before_encoding(self, p: Any) -> None:
        """``process_batch``."""

    def before_sampling(self, p: Any, x: Tensor) -> None:
        """``process_before_every_sampling``."""

    def sampled(self, p: Any) -> None:
        """``post_sample``."""

    def finished(self, p: Any) -> None:
        """``postprocess``."""


class Host:
    """Called by the script; one for each tab."""

    def __init__(
        self,
        begin: Callable[[Settings, ConditionStore], GenerationLike],
        afterwards: Callable[[Any, Any, Sequence[PassRecord]], None] | None = None,
    ) -> None:
        """Nothing is asked of the WebUI yet.

        Args:
            begin: makes a generation's part.
            afterwards: called with p, processed and the passes of a generation that composed.
        """
        self._begin = begin
        self._afterwards = afterwards
        self._store = ConditionStore()

    def start(self, p: Any, settings: Settings) -> None:
        """A generation begins (``process``); may be called again for the same ``p``."""
        self.forget(p)
        if settings.enabled:
            setattr(p, _ATTRIBUTE, self._begin(settings, self._store))

    def refuse(self, p: Any, problem: str) -> None:
        """The settings cannot be used: nothing is composed, and the reason is said."""
        self.forget(p)
        say(p, f"{problem}; nothing is composed, the networks act merged, the usual way")

    def forget(self, p: Any) -> None:
        """Leave ``p`` as the WebUI made it."""
        forget_comments(p)
        forget_infotext(p)
        if hasattr(p, _ATTRIBUTE):
            delattr(p, _ATTRIBUTE)
            use_the_webui_s_caches(p)

    def networks_activated(self, p: Any, data: ExtraNetworkData) -> None:
        """``after_extra_networks_activate``."""
        generation = generation_of(p)
        if generation is not None:
            generation.networks_activated(p, data)

    def before_encoding(self, p: Any) -> None:
        """``process_batch``: the prompts are encoded next."""
        generation = generation_of(p)
        if generation is not None:
            generation.before_encoding(p)

    def before_sampling(self, p: Any, x: Tensor) -> None:
        """``process_before_every_sampling``."""
        generation = generation_of(p)
        if generation is not None:
            generation.before_sampling(p, x)

    def sampled(self, p: Any) -> None:
        """``post_sample``: latents are there, the VAE comes next."""
        generation = generation_of(p)
        if generation is not None:
            generation.sampled(p)

    def finished(self, p: Any, processed: Any) -> None:
        """``postprocess``: the pictures are there."""
        generation = generation_of(p)
        if generation is not None:
            generation.finished(p)
            passes = [one for one in generation.passes if one.report.steps]
            if passes and self._afterwards is not None:
                self._afterwards(p, processed, passes)
        put_into_answer(p, processed)


def generation_of(p: Any) -> Any:
    """LoRAtorio's part of this generation (of the adapter's own class), or None."""
    return getattr(p, _ATTRIBUTE, None)
