"""LoRAtorio's keys in the infotext of the pictures to come."""

from __future__ import annotations

from typing import Any

from loratorio_ext.settings import INFOTEXT_PREFIX, Settings

STOPPED = f"{INFOTEXT_PREFIX}stopped at"
"""The key that says from which model call onwards a picture was no longer composed."""


class Infotext:
    """Keeps what the infotext of a batch's pictures says true, over all their passes.

    The WebUI activates networks several times for one batch: for its first pass, for a hires pass, for a
    refiner. If one of them composed, the infotext goes on saying so, whatever the next one does.

    Attributes:
        has_composed: whether a model call of this batch was composed.
        is_sampling: from the first model call of this batch until its latents are finished.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.has_composed = False
        self.is_sampling = False

    def networks_activated(self, p: Any) -> None:
        """A pass is coming; the first of a batch forgets the batch before."""
        if not self.is_sampling and not getattr(p, "is_hr_pass", False):
            self.has_composed = False
            forget_infotext(p)

    def will_compose(self, p: Any) -> None:
        """The coming pass composes."""
        p.extra_generation_params.update(self._settings.infotext_fields())

    def will_not_compose(self, p: Any) -> None:
        """The coming pass does not."""
        if not self.has_composed:
            forget_infotext(p)

    def stopped(self, p: Any, when: str) -> None:
        """From here on this batch is no longer composed."""
        if self.has_composed:
            p.extra_generation_params[STOPPED] = when
        else:
            forget_infotext(p)


def forget_infotext(p: Any) -> None:
    """Say nothing; scripts that copy ``p`` share the dict of an earlier generation."""
    for key in [one for one in p.extra_generation_params if one.startswith(INFOTEXT_PREFIX)]:
        del p.extra_generation_params[key]
