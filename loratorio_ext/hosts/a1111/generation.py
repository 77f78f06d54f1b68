"""LoRAtorio's part of one generation of the WebUI; lives on ``p`` and goes with it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.conditions import Conditions, ConditionStore
from loratorio_ext.hosts.a1111.evaluation import DenoiserEvaluation
from loratorio_ext.hosts.a1111.networks import (
    ComposedNetwork,
    give_back,
    kept_names,
    missing_names,
    take_over,
)
from loratorio_ext.hosts.a1111.pool import pool_networks
from loratorio_ext.hosts.a1111.sampling_pass import SamplingPass
from loratorio_ext.run import Half, Report, Row
from loratorio_ext.settings import Settings

logger = logging.getLogger("loratorio")

SPEAKER = "LoRAtorio: "
"""How every comment under a picture begins."""


class Generation:
    """Takes networks over, composes, and falls back to what the WebUI would have done where it cannot.

    Attributes:
        reports: one for each sampling pass that composed.
    """

    def __init__(self, settings: Settings, store: ConditionStore) -> None:
        """Nothing is done yet."""
        self._settings = settings
        self._store = store
        self._networks: list[ComposedNetwork] = []
        self._pass: SamplingPass | None = None
        self._params: Any = None
        self._stopped = False
        self._said: set[str] = set()
        self.reports: list[Report] = []

    # ------------------------------------------------ the WebUI's hooks, in their order

    def networks_activated(self, p: Any, extra_network_data: Mapping[str, Iterable[Any]]) -> None:
        """The WebUI has loaded the networks of the pass to come; nothing is encoded yet."""
        self._pass = None
        self._networks = []
        obstacle = _obstacle(p)
        if obstacle is not None:
            self._stop(p, f"{obstacle}; the networks act merged, the usual way")
        if self._stopped:
            return
        for name in missing_names(extra_network_data):
            self._say(p, f"the WebUI has not loaded {name[:80]!r}, so it takes no part")
        taken = take_over(kept_names(extra_network_data))
        pool, problems = pool_networks(self._settings.pool, {one.network.name for one in taken})
        for problem in problems:
            self._say(p, problem)
        self._networks = [*taken, *pool]
        if not self._networks:
            self._say(p, "there is no network to compose")
            return
        self._store.use(p, ())
        p.extra_generation_params.update(self._settings.infotext_fields())

    def before_call(self, p: Any, params: Any) -> None:
        """The denoiser is about to ask the model for the base's predictions."""
        self._params = None
        if self._stopped or not self._networks:
            return
        try:
            if self._pass is None or not self._pass.belongs_to(params.denoiser):
                self._pass = SamplingPass(p, params.denoiser, self._settings, self._networks, self._store)
                self.reports.append(self._pass.run.report)
                for misfit in self._pass.misfits:
                    self._say(p, misfit)
        except Exception as error:  # noqa: BLE001 - whatever it is, the picture must not be the base's alone
            conditions = self._fall_back(p, params, error)
            step = params.denoiser.step
            params.text_cond = webui.conds_at(conditions.c, step)[1]
            params.text_uncond = webui.unconds_at(conditions.uc, step)
        else:
            self._params = params

    def after_call(self, p: Any, predicted: Tensor) -> None:
        """The denoiser has them; composed predictions are put in their place."""
        params, self._params = self._params, None
        if self._pass is None or params is None:
            return
        try:
            self._pass.compose(params, predicted)
        except Exception as error:  # noqa: BLE001 - see above
            conditions = self._fall_back(p, params, error)
            _repeat_merged(params, predicted, conditions)

    def finished(self, p: Any) -> None:
        """The pictures are there."""
        for report in self.reports:
            for warning in report.warnings:
                self._say(p, warning)
        self._pass = None
        webui.say_while_working(None)

    # ------------------------------------------------ what cannot be composed

    def _fall_back(self, p: Any, params: Any, error: Exception) -> Conditions:
        """Go on as the WebUI would have done, all networks merged in UNet and text encoder.

        Returns the conditions for that; from the next model call on the sampler has them.
        """
        logger.warning("composing failed", exc_info=error)
        networks, self._networks = self._networks, []
        give_back(networks)
        self._stop(p, f"composing failed ({error}); from there on the networks act merged, the usual way")
        self._store.use(p, ())
        conditions = Conditions(*webui.encode(p))
        params.denoiser.sampler.sampler_extra_args.update(cond=conditions.c, uncond=conditions.uc)
        return conditions

    def _stop(self, p: Any, reason: str) -> None:
        self._pass = None
        self._stopped = True
        for key in self._settings.infotext_fields():
            p.extra_generation_params.pop(key, None)
        self._say(p, reason)

    def _say(self, p: Any, text: str) -> None:
        """Under the image and in the log, once."""
        if text not in self._said:
            self._said.add(text)
            p.comment(f"{SPEAKER}{text}")
            logger.warning("%s", text)


def _obstacle(p: Any) -> str | None:
    """Why nothing can be composed at all."""
    replacement = webui.replaced_unet()
    if replacement is not None:
        return f"the UNet is replaced by {replacement}, whose layers cannot be reached"
    if webui.is_edit_model() and getattr(p, "image_cfg_scale", None) not in (None, 1.0):
        return "InstructPix2Pix with an image CFG scale other than 1 is guided by three predictions"
    return None


def _repeat_merged(params: Any, predicted: Tensor, conditions: Conditions) -> None:
    """The call again, with all networks merged by the WebUI; row by row, since memory may lack."""
    evaluation = DenoiserEvaluation.of(params, predicted, {"merged": conditions})

    def predicted_rows(half: Half, count: int) -> Tensor:
        return torch.cat([evaluation.predict([Row("merged", half, index)]) for index in range(count)])

    cond = predicted_rows("cond", evaluation.cond_rows)
    evaluation.put(cond, predicted_rows("uncond", evaluation.images) if evaluation.guided else None)
