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
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._composed = False
        self._sampling = False

    def networks_activated(self, p: Any) -> None:
        """A pass is coming; the first of a batch forgets the batch before."""
        if not self._sampling and not getattr(p, "is_hr_pass", False):
            self._composed = False
            forget_infotext(p)

    def will_compose(self, p: Any) -> None:
        """The coming pass composes."""
        p.extra_generation_params.update(self._settings.infotext_fields())

    def will_not_compose(self, p: Any) -> None:
        """The coming pass does not."""
        if not self._composed:
            forget_infotext(p)

    def sampling(self) -> None:
        """A sampler of this batch is running."""
        self._sampling = True

    def composed(self) -> None:
        """A model call of this batch was composed."""
        self._composed = True

    def stopped(self, p: Any, when: str) -> None:
        """From here on this batch is no longer composed."""
        if self._composed:
            p.extra_generation_params[STOPPED] = when
        else:
            forget_infotext(p)

    def sampled(self) -> None:
        """All passes of the batch are over."""
        self._sampling = False


def forget_infotext(p: Any) -> None:
    """Say nothing; scripts that copy ``p`` share the dict of an earlier generation."""
    for key in [one for one in p.extra_generation_params if one.startswith(INFOTEXT_PREFIX)]:
        del p.extra_generation_params[key]
