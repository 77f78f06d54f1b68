"""One running server: what pages, API and generations share. Made once, handed to each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loratorio_ext.networks.files import NO_TRIGGERS, TriggersOf
from loratorio_ext.networks.prompt import Repeated
from loratorio_ext.server.history import History
from loratorio_ext.server.options import Options
from loratorio_ext.server.presets import Presets
from loratorio_ext.server.words import Words


@dataclass(frozen=True)
class Server:
    """What a host offers to pages and API; every function is asked anew, so that changes are seen.

    Attributes:
        host: the WebUI's name, or "diffusers".
        version: its version in its own words; "" where it has none.
        history: the last runs.
        presets: settings under names.
        networks: name or alias of every network → path below the folder of networks, without suffix.
        refresh: makes the host look at its folder of networks again.
        options: what the user has set for this server.
        words: the language of the page.
        obstacle: why nothing can be composed with the loaded model, or None.
        merged_on_top: see `estimate.PlannedSampling`.
        uncond_at_cfg_1: whether the unconditional is predicted at a CFG scale of 1 too, as AUTOMATIC1111's
            WebUI does (modules/sd_samplers_cfg_denoiser.py).
        splits_at_and: see `estimate.PlannedSampling`.
        repeated: the same.
        all_or_none: the same.
        triggers: a network's trigger words, by any of its names.
        remark: what cannot be composed with the loaded model, though the rest can, or None.
        misfit: which other model than the loaded one a network is for, by any of its names; None: none that
            is known of.
    """

    host: str
    version: str
    history: History
    presets: Presets
    networks: Callable[[], Mapping[str, str]]
    refresh: Callable[[], None]
    options: Callable[[], Options]
    words: Callable[[], Words]
    obstacle: Callable[[], str | None]
    merged_on_top: bool
    uncond_at_cfg_1: bool = False
    splits_at_and: bool = False
    repeated: Repeated = "last"
    all_or_none: bool = False
    triggers: TriggersOf = lambda name: NO_TRIGGERS
    remark: Callable[[], str | None] = lambda: None
    misfit: Callable[[str], str | None] = lambda name: None

    def guided(self, cfg_scale: object) -> bool:
        """Whether there is an unconditional prediction at this CFG scale; yes for what is not a number."""
        is_one = isinstance(cfg_scale, int | float) and cfg_scale == 1 and not isinstance(cfg_scale, bool)
        return self.uncond_at_cfg_1 or not is_one
