"""LoRAtorio's part of one generation of the WebUI; lives on ``p`` and goes with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.conditions import text_key
from loratorio_ext.hosts.a1111.evaluation import DenoiserEvaluation
from loratorio_ext.hosts.a1111.networks import (
    ComposedNetwork,
    files_of_prompt,
    give_back,
    take_over,
)
from loratorio_ext.hosts.a1111.sampling_pass import SamplingPass
from loratorio_ext.hosts.webuis.afterwards import pass_record
from loratorio_ext.hosts.webuis.attempt import attempt
from loratorio_ext.hosts.webuis.comments import say, say_that_there_is_none
from loratorio_ext.hosts.webuis.conditions import Conditions, ConditionStore
from loratorio_ext.hosts.webuis.infotext import Infotext
from loratorio_ext.hosts.webuis.pool import Pool
from loratorio_ext.hosts.webuis.tags import ExtraNetworkData, kept_names, said_of_missing
from loratorio_ext.run import Half, Row
from loratorio_ext.server.history import PassRecord
from loratorio_ext.server.options import Options
from loratorio_ext.settings import Settings


class Generation:
    """Takes networks over, composes, and falls back to what the WebUI would have done where it cannot.

    Attributes:
        passes: one for each sampling pass that composed.
    """

    def __init__(
        self,
        settings: Settings,
        store: ConditionStore,
        pool: Pool[ComposedNetwork],
        options: Callable[[], Options],
    ) -> None:
        """Nothing is done yet; ``options`` are asked for at the beginning of every pass."""
        self._settings = settings
        self._options = options
        self._store = store
        self._pool = pool
        self._networks: Sequence[ComposedNetwork] = ()
        self._pass: SamplingPass | None = None
        self._params: Any = None
        self._infotext = Infotext(settings)
        self._none = False
        self.passes: list[PassRecord] = []

    # ------------------------------------------------ the WebUI's hooks, in their order

    def networks_activated(self, p: Any, data: ExtraNetworkData) -> None:
        """The WebUI has loaded the networks of the pass to come; nothing is encoded yet."""
        self._end_pass()
        self._networks = ()
        self._none = False
        self._infotext.networks_activated(p)
        obstacle = _obstacle(p)
        if obstacle is not None:
            say(p, f"{obstacle}; the networks act merged, the usual way")
            self._infotext.will_not_compose(p)
            return
        kept, problems = kept_names(data)
        problems += said_of_missing(data, webui.loaded_networks())
        taken = take_over(kept)
        pool, problems_of_pool = self._pool.networks(self._settings.pool, files_of_prompt(taken))
        for problem in (*problems, *problems_of_pool):
            say(p, problem)
        self._networks = (*taken, *pool)
        if not self._networks:
            self._none = True
            self._infotext.will_not_compose(p)
            return
        self._store.expect(len(self._networks) + 2)
        self._store.use(p, text_key(()))
        self._infotext.will_compose(p)

    def before_encoding(self, p: Any) -> None:
        """Prompts are encoded next: the base's, since the WebUI's list holds the kept networks alone."""

    def before_sampling(self, p: Any, x: Tensor) -> None:
        """A sampler begins; its first model call tells more."""
        if self._none:
            say_that_there_is_none(p)

    def before_call(self, p: Any, params: Any) -> None:
        """The denoiser is about to ask the model for the base's predictions."""
        self._params = None
        self._infotext.sampling()
        if not self._networks:
            return
        reason = attempt(lambda: self._begin_pass(p, params))
        if reason is None and self._pass is not None and not self._pass.networks:
            reason = "no network fits this model"
        if reason is None:
            self._params = params
            return
        conditions = self._fall_back(p, params, reason)
        step = params.denoiser.step
        params.text_cond = webui.conds_at(conditions.c, step)[1]
        params.text_uncond = webui.unconds_at(conditions.uc, step)

    def after_call(self, p: Any, predicted: Tensor) -> None:
        """The denoiser has them; composed predictions are put in their place."""
        params, self._params = self._params, None
        if params is None:
            return
        reason = attempt(lambda: self._compose(params, predicted))
        if reason is None:
            return
        conditions = self._fall_back(p, params, reason)
        reason = attempt(lambda: _repeat_merged(params, predicted, conditions))
        if reason is not None:
            say(p, f"and the merged prediction of that step failed too ({reason}), so it has no network")

    def sampled(self, p: Any) -> None:
        """Latents are there; the VAE needs the memory more than we do."""
        self._end_pass()
        self._infotext.sampled()

    def finished(self, p: Any) -> None:
        """The pictures are there."""
        for one in self.passes:
            for warning in one.report.warnings:
                say(p, warning)
        self._pass = None
        webui.say_while_working(None)

    # ------------------------------------------------ what they need

    def _end_pass(self) -> None:
        """A sampler is done, if one was at work."""
        ended, self._pass = self._pass, None
        if ended is not None and ended.run is not None:
            ended.run.end(stopped=webui.was_stopped())

    def _begin_pass(self, p: Any, params: Any) -> None:
        """Bind networks and texts where a pass begins, or where the refiner has come in."""
        if self._pass is not None and self._pass.belongs_to(params.denoiser):
            return
        self._end_pass()
        begun = SamplingPass(p, params.denoiser, self._settings, self._options(), self._networks, self._store)
        for problem in begun.problems:
            say(p, problem)
        self._pass = begun
        if begun.run is not None:
            self.passes.append(pass_record(p, begun.run.report))

    def _compose(self, params: Any, predicted: Tensor) -> None:
        if self._pass is not None:
            self._pass.compose(params, predicted)
            self._infotext.composed()

    def _fall_back(self, p: Any, params: Any, reason: str) -> Conditions:
        """Go on with this pass as the WebUI would have done, all networks merged in UNet and text encoder.

        Returns the conditions for that; from the next model call on the sampler has them.
        """
        self._pass = None
        networks, self._networks = self._networks, ()
        webui.collect_memory()
        give_back(networks)
        call = f"call {params.denoiser.step + 1} of {params.denoiser.total_steps}"
        say(p, f"composing failed at {call} ({reason}); from there on the networks act merged, the usual way")
        self._infotext.stopped(p, call)
        self._store.use(p, text_key(()))
        conditions = Conditions(*webui.encode(p))
        params.denoiser.sampler.sampler_extra_args.update(cond=conditions.c, uncond=conditions.uc)
        return conditions


def _obstacle(p: Any) -> str | None:
    """Why nothing can be composed at all."""
    if webui.is_edit_model() and getattr(p, "image_cfg_scale", None) not in (None, 1.0):
        return webui.THREE_PREDICTIONS
    return webui.unet_out_of_reach()


def _repeat_merged(params: Any, predicted: Tensor, conditions: Conditions) -> None:
    """The call again, with all networks merged by the WebUI; row by row, since memory may lack."""
    evaluation = DenoiserEvaluation.of(params, predicted, {"merged": conditions})

    def predicted_rows(half: Half, count: int) -> Tensor:
        return torch.cat([evaluation.predict([Row("merged", half, index)]) for index in range(count)])

    cond = predicted_rows("cond", evaluation.cond_rows)
    evaluation.put(cond, predicted_rows("uncond", evaluation.images) if evaluation.guided else None)
