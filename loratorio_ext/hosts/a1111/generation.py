"""LoRAtorio's part of one generation in AUTOMATIC1111's WebUI.

The WebUI's callbacks come before and after the base's model call: the networks' rows are predicted after it,
and the composed predictions take the place of the base's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.evaluation import (
    DenoiserEvaluation,
    TokenMarks,
    base_texts,
    placed_texts,
    rows_of,
    texts_of,
    texts_of_sources,
    total_of,
)
from loratorio_ext.hosts.a1111.layers import layers_of
from loratorio_ext.hosts.a1111.networks import ComposedNetwork, give_back, merged, networks_of, take_over
from loratorio_ext.hosts.a1111.routed_call import RoutedCall
from loratorio_ext.hosts.a1111.tiles import Tiles
from loratorio_ext.hosts.webuis.adapter import ExtraNetworkData, UnetLayers
from loratorio_ext.hosts.webuis.comments import say
from loratorio_ext.hosts.webuis.conditions import Conditions
from loratorio_ext.hosts.webuis.generation import Generation, attempt, call_of, guarded
from loratorio_ext.hosts.webuis.networks import tags_of_networks
from loratorio_ext.networks.arguments import block_weight_steps
from loratorio_ext.run import Branch, Row, Source


class A1111Generation(Generation[ComposedNetwork]):
    """Answers for AUTOMATIC1111's WebUI, and what is done at its model calls."""

    # Here the first model call of a sampler shows which model it uses.
    binds_before_sampling = False
    answers_further_calls = False

    _params: Any = None  # CFGDenoiserParams between the two callbacks of a call
    _denoiser: Any = None  # of the current call
    _bound_denoiser: Any = None
    _own_call: RoutedCall | None = None
    _after_composing: ExitStack | None = None  # what lasts until the next call
    _marks: TokenMarks
    _tiles: Tiles

    @guarded
    def networks_activated(self, p: Any, data: ExtraNetworkData) -> None:
        """Say where LoRA Block Weight, which changes strengths once texts are encoded, does otherwise."""
        super().networks_activated(p, data)
        told = {tag.positional[0] for tag in tags_of_networks(data) if block_weight_steps(tag.named)}
        for name in (one.name for one in self.networks if one.name in told and one.changes_text):
            say(p, f"the text part of {name!r} keeps to start= and stop= too; merged, it acts at every step")

    # ------------------------------------------------ at a model call

    @guarded
    def before_call(self, p: Any, params: Any) -> None:
        """The denoiser is about to ask the model for the base's predictions."""
        self._params, self._denoiser = None, params.denoiser
        self._end_watching()
        super().before_call(p, params)
        if self.networks:
            self._params = params
            reason = attempt(lambda: self._route(params))
            if reason is not None:
                self.fall_back(p, reason, call_of(params), params.x)

    @guarded
    def after_call(self, p: Any, predicted: Tensor) -> None:
        """The denoiser has them; put composed predictions in their place.

        Args:
            p: of the generation.
            predicted: CFGDenoisedParams.x, conditional rows first; written to.
        """
        params, self._params = self._params, None
        own_call, self._own_call = self._own_call, None
        if own_call is not None:
            own_call.end()
        if params is None:
            return

        def compose() -> None:
            if self.bound is None:
                raise RuntimeError("no pass has begun")
            conditions, router = self.bound.conditions, self.bound.router
            if own_call is not None and own_call.is_placed and own_call.failure is not None:
                self.bound.run.stop_placing(int(params.denoiser.step), own_call.failure)
            marks, tiles = self._marks, self._tiles
            routes = self.bound.run.routes
            evaluation = DenoiserEvaluation.of(
                params, predicted, conditions, router, marks, routes, own_call, tiles
            )
            prediction = self.step(p, evaluation)
            evaluation.put(prediction.cond, prediction.uncond)
            self.infotext.has_composed = True
            self._watch(params.denoiser.inner_model, self.bound.run.report.warn)

        reason = attempt(compose)
        if reason is None:
            return
        self.fall_back(p, reason, call_of(params))
        conditions = self.merged_from_here_on(params)
        reason = attempt(lambda: self._repeat_merged(params, predicted, conditions))
        if reason is not None:
            say(p, f"and the merged prediction of that step failed too ({reason}), so it has no network")

    def _route(self, params: Any) -> None:
        """Give the rows of the WebUI's own call their networks: those of the base, or all of them, placed."""
        bound, denoiser = self.bound, params.denoiser
        if bound is None:
            return
        run, conditions = bound.run, bound.conditions
        if "base" in conditions:
            base = texts_of(conditions["base"], base_texts(params), denoiser.step, self._marks)
            params.text_cond, params.text_uncond = base["cond"], base["uncond"]
        base = base_texts(params)
        step = int(denoiser.step), total_of(denoiser), *rows_of(params)
        found = run.placed_rows(*step) if run.report.settings.looks > 0 else None
        strengths, places = (run.base_strengths(*step), None) if found is None else found[1:]
        if strengths is None:
            return
        model = denoiser.inner_model
        if not isinstance(model, nn.Module):
            if places is None:
                raise TypeError("the denoiser's model cannot be hooked")
            run.stop_placing(step[0], "the denoiser's model cannot be hooked")
            return
        if places is not None and "merged" in conditions:
            texts = texts_of_sources(conditions, base, denoiser.step, self._marks)
            placed = placed_texts(texts, run.routes, step[2])
            params.text_cond, params.text_uncond = placed["cond"], placed["uncond"]
        self._own_call = RoutedCall(model, bound.router, strengths, places, base, self._tiles)

    def _watch(self, model: Any, warn: Callable[[str], None]) -> None:
        """Say where another extension calls the model before the WebUI does so for the next step."""

        def further(model: nn.Module, args: tuple[Any, ...]) -> None:
            warn("another extension calls the model again after a step; the base model alone answers it")
            self._end_watching()

        if isinstance(model, nn.Module):
            self._after_composing = ExitStack()
            self._after_composing.callback(model.register_forward_pre_hook(further).remove)

    def _end_watching(self) -> None:
        if self._after_composing is not None:
            self._after_composing.close()

    def _repeat_merged(self, params: Any, predicted: Tensor, conditions: Conditions | None) -> None:
        """The call again, with all networks merged by the WebUI; row by row, since memory may be short."""
        texts: dict[Source, Conditions] = {} if conditions is None else {"merged": conditions}
        evaluation = DenoiserEvaluation.of(params, predicted, texts, None, self._marks)

        def rows(branch: Branch, count: int) -> Tensor:
            every = [Row("merged", branch, index) for index in range(count)]
            return torch.cat([evaluation.predict_as_merged([row]) for row in every])

        cond = rows("cond", evaluation.rows.cond_rows)
        evaluation.put(cond, rows("uncond", evaluation.rows.images) if evaluation.guided else None)

    # ------------------------------------------------ answers

    def obstacle(self, p: Any) -> str | None:
        if webui.is_edit_model() and getattr(p, "image_cfg_scale", None) not in (None, 1.0):
            return webui.THREE_PREDICTIONS
        return webui.unet_out_of_reach()

    def networks_of_prompt(self, data: ExtraNetworkData, kept: Collection[str]) -> Sequence[ComposedNetwork]:
        return networks_of(kept)

    def take_out(self, networks: Sequence[ComposedNetwork]) -> Sequence[ComposedNetwork]:
        """The WebUI merges what is in its list the next time a layer runs."""
        take_over(networks)
        return networks

    def put_back(self, networks: Sequence[ComposedNetwork], left_out: Sequence[ComposedNetwork]) -> None:
        take_over(left_out)
        give_back(networks)

    def text_encoders(
        self, networks: Sequence[ComposedNetwork], acting: Sequence[ComposedNetwork]
    ) -> AbstractContextManager[None]:
        return merged(acting)

    def text_key(
        self, networks: Sequence[ComposedNetwork], acting: Sequence[ComposedNetwork]
    ) -> Hashable | None:
        if not webui.keeps_conds():
            return None
        kept = tuple((one.name, one.mtime, one.te_multiplier, one.dyn_dim) for one in webui.loaded_networks())
        return (webui.text_options(), kept, tuple(one.identity for one in acting))

    def texts_at(self, conditions: Conditions, step: int) -> tuple[Any, Any]:
        return webui.conds_at(conditions.c, step)[1], webui.unconds_at(conditions.uc, step)

    def layers_of(self, network: ComposedNetwork) -> UnetLayers:
        return layers_of(network, webui.layers())

    def rows_of_call(self, p: Any) -> int:
        return 0 if webui.batches_cond_and_uncond() else len(p.prompts)

    def put_in_place(self, rows: int, x: Tensor) -> None:
        """The callbacks are always there, and memory is not managed; ValueError where rows are mixed."""
        if webui.blocks_are_replaced():
            raise ValueError("another extension remembers the rows of a call, as ControlNet's reference does")
        self._bound_denoiser, self._marks = self._denoiser, TokenMarks()
        if self.bound is not None:
            self._tiles = Tiles(self.bound.run.report.warn)

    def is_in_place(self) -> bool:
        """Every sampler has a denoiser of its own."""
        return self._bound_denoiser is self._denoiser

    def load(self, x: Tensor) -> None:
        """The model is loaded already."""
