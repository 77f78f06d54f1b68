"""LoRAtorio's part of one generation in Forge.

A pre-CFG function is called before the evaluation of every step: it predicts all rows itself, composes, and
puts a wrapper around the model that answers the evaluation with what was composed.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from torch import Tensor

from loratorio_ext.hosts.forge import networks as forge_networks, webui
from loratorio_ext.hosts.forge.backend import Backend
from loratorio_ext.hosts.forge.evaluation import ForgeEvaluation
from loratorio_ext.hosts.forge.further_calls import ComposedModel
from loratorio_ext.hosts.forge.layers import layers_of
from loratorio_ext.hosts.forge.memory import announce_memory
from loratorio_ext.hosts.forge.networks import ComposedNetwork
from loratorio_ext.hosts.forge.option_functions import PreCfgArguments
from loratorio_ext.hosts.forge.texts import Texts, places_of_texts, texts_at, texts_of_sources, with_texts
from loratorio_ext.hosts.forge.wrappers import PassthroughWrapper, SubstituteWrapper, hands_on
from loratorio_ext.hosts.webuis.adapter import ExtraNetworkData, UnetLayers
from loratorio_ext.hosts.webuis.comments import say
from loratorio_ext.hosts.webuis.conditions import Conditions
from loratorio_ext.hosts.webuis.generation import Generation, attempt, call_of, guarded
from loratorio_ext.hosts.webuis.host import Webui, webui_of
from loratorio_ext.hosts.webuis.sampling_pass import SamplingPass
from loratorio_ext.run import FrozenComposition, Source

TEXTS_REPLACED = (
    "another extension has replaced the prompt's conditions, so the text encoder parts of the networks do "
    "not act"
)
FURTHER_CALLS = "another extension's own calls of the model could not be composed"


class ForgeGeneration(Generation[ComposedNetwork]):
    """Answers for Forge, and what is done at its evaluations."""

    # Forge looks up the UNet that samples before the first model call, and asks for its memory then.
    binds_before_sampling = True
    answers_further_calls = True

    _params: Any = None  # CFGDenoiserParams of the current evaluation
    # Another extension's wrapper, and whether it hands calls on.
    _others: tuple[webui.Wrapper, bool] | None = None
    _further_failed = False

    def __init__(self, backend: Backend, *arguments: Any) -> None:
        """As `Generation`; ``backend``: of this Forge."""
        super().__init__(*arguments)
        self._backend = backend
        self._functions = backend.functions(self.before_guidance)

    # ------------------------------------------------ at an evaluation

    @guarded
    def before_call(self, p: Any, params: Any) -> None:
        """The denoiser is about to evaluate."""
        self._params = params
        self._functions.begin()
        super().before_call(p, params)
        self._functions.stand_in_place(webui.objects().unet)

    def before_guidance(self, evaluation: PreCfgArguments, is_own: bool) -> PreCfgArguments:
        """The pre-CFG function: evaluates, composes, and has Forge's evaluation answered with the result.

        Args:
            evaluation: (model, cond, uncond, x, sigma, model_options).
            is_own: whether it is the denoiser's own, not one that another extension makes before it.
        """
        params, bound = self._params, self.bound
        if params is None:
            return evaluation
        if bound is None:
            return self._with_merged_texts(evaluation, is_own)
        model, cond, uncond, x, timestep, options = evaluation
        if isinstance(options.get(webui.WRAPPER), SubstituteWrapper | PassthroughWrapper):
            return evaluation  # another extension's, with the model that has composed
        wrappers: list[Any] = []

        def compose() -> None:
            forge_networks.take_out_again(self._backend, webui.objects().unet, self.networks)
            answer = self._substitute if is_own else self._merged_for_others
            wrappers.append(answer(params, bound, evaluation))

        reason = attempt(compose)
        if reason is not None:
            self.fall_back(params.denoiser.p, reason, call_of(params), x)
            return self._with_merged_texts(evaluation, is_own)
        if wrappers[0] is None:
            return evaluation
        return model, cond, uncond, x, timestep, {**options, webui.WRAPPER: wrappers[0]}

    def _substitute(
        self, params: Any, bound: SamplingPass[ComposedNetwork], evaluation: PreCfgArguments
    ) -> SubstituteWrapper | None:
        """Answers with composed predictions; None where no condition acts at this sigma."""
        model, cond, uncond, x, timestep, options = evaluation
        p, denoiser = params.denoiser.p, params.denoiser
        places = [(part, self._backend.place_of(part, x, timestep)) for part in (*cond, *(uncond or ()))]
        acting = [part for part, place in places[: len(cond)] if place is not None]
        if not acting:
            return None
        given: Texts = {"cond": acting, "uncond": uncond}
        texts = self._texts(denoiser, bound, given)
        others = options.get(webui.WRAPPER)
        around = others if others is not None and self._hands_on(others, evaluation) else None
        if around is not None:
            options = {name: value for name, value in options.items() if name != webui.WRAPPER}
        asked = ForgeEvaluation(
            (model, cond, uncond, x, timestep, options),
            texts,
            bound.router,
            bound.run.routes,
            index=int(denoiser.step),
            total=max(int(denoiser.total_steps), 1),
            backend=self._backend,
        )
        prediction = self.step(p, asked)
        frozen = None if self._further_failed else prediction.frozen
        further = self._further(p, bound, frozen, asked.texts, given, x, others)
        uncond = None if prediction.uncond is None else asked.like_x(prediction.uncond)
        composed = {"cond": asked.combined(prediction.cond), "uncond": uncond}
        self.infotext.has_composed = True
        areas = [place[0] for _, place in places if place is not None]
        return SubstituteWrapper(composed, evaluation, areas, further, around)  # type: ignore[arg-type]

    def _merged_for_others(
        self, params: Any, bound: SamplingPass[ComposedNetwork], evaluation: PreCfgArguments
    ) -> PassthroughWrapper:
        """For another extension's evaluation before the denoiser's own: there are no weights yet."""
        _, cond, uncond, x, _, options = evaluation
        denoiser = params.denoiser
        given: Texts = {"cond": cond, "uncond": uncond}
        texts = self._texts(denoiser, bound, given)
        return self._further(denoiser.p, bound, None, texts, given, x, options.get(webui.WRAPPER))

    def _further(
        self,
        p: Any,
        bound: SamplingPass[ComposedNetwork],
        frozen: FrozenComposition | None,
        texts: Mapping[Source, Texts],
        given: Texts,
        x: Tensor,
        others: webui.Wrapper | None,
    ) -> PassthroughWrapper:
        def failed(reason: str) -> None:
            self._further_failed = True
            say(p, f"{FURTHER_CALLS} ({reason}); from there on they get all networks merged")

        composed = ComposedModel(frozen, bound.router, bound.run.routes, texts, given, x.shape, failed)
        return PassthroughWrapper(composed, others)

    def _hands_on(self, others: webui.Wrapper, evaluation: PreCfgArguments) -> bool:
        """Whether another extension's wrapper sees composed predictions; tried once, on base rows."""
        if self._others is None or self._others[0] is not others:

            def evaluate(wrapper: webui.Wrapper) -> None:
                model, cond, uncond, x, timestep, options = evaluation
                self._backend.evaluate(model, cond, uncond, x, timestep, {**options, webui.WRAPPER: wrapper})

            self._others = (others, hands_on(others, evaluate))
        return self._others[1]

    def _texts(
        self, denoiser: Any, bound: SamplingPass[ComposedNetwork], base: Texts
    ) -> Mapping[Source, Texts]:
        """Conditions by source; only the base's where another extension has put in texts of its own."""
        given, step = denoiser.sampler.sampler_extra_args, denoiser.step
        own = texts_at(self._backend, Conditions(given["cond"], given["uncond"]), step)
        texts = texts_of_sources(self._backend, base, own, bound.conditions, step)
        if texts is None:
            say(denoiser.p, TEXTS_REPLACED)
        return texts or {"base": base}

    def _with_merged_texts(self, evaluation: PreCfgArguments, is_own: bool) -> PreCfgArguments:
        """The evaluation with the texts as all networks see them, where it does not have them yet."""
        merged, denoiser = self._merged, self._params.denoiser
        if merged is None:
            return evaluation
        model, cond, uncond, x, timestep, options = evaluation
        given, step = denoiser.sampler.sampler_extra_args, denoiser.step
        texts: Texts = {"cond": cond, "uncond": uncond}
        own = texts_at(self._backend, Conditions(given["cond"], given["uncond"]), step)
        texts = with_texts(texts, texts_at(self._backend, merged, step), places_of_texts(texts, own))
        if is_own:  # until then the denoiser's own is still to come
            self.merged_from_here_on(self._params)
        return model, texts["cond"], texts["uncond"], x, timestep, options

    @guarded
    def sampled(self, p: Any) -> None:
        """The pass is over.

        Our UNet stays in place until the next batch: a patcher that nothing refers to cannot be unloaded.
        """
        super().sampled(p)
        self._params = None

    @guarded
    def finished(self, p: Any) -> None:
        """Remove everything of ours from the UNet's options."""
        super().finished(p)
        self._params = None
        self._functions.take_out(webui.objects().unet)

    # ------------------------------------------------ answers

    def obstacle(self, p: Any) -> str | None:
        """Which networks fit is known only when they are bound."""
        return self._backend.obstacle()

    def networks_of_prompt(self, data: ExtraNetworkData, kept: Collection[str]) -> Sequence[ComposedNetwork]:
        return forge_networks.networks_of_prompt(self._backend, data, kept)

    def take_out(self, networks: Sequence[ComposedNetwork]) -> Sequence[ComposedNetwork]:
        """Out of the text encoders now, out of the UNet when a sampler begins."""
        networks = forge_networks.with_patches(self._backend, networks)
        webui.objects().clip = forge_networks.clip_of(self._backend, networks)
        return networks

    def put_back(self, networks: Sequence[ComposedNetwork], left_out: Sequence[ComposedNetwork]) -> None:
        objects = webui.objects()
        unet = forge_networks.unet_with_all(self._backend, objects.unet, left_out)
        self._functions.take_out(unet)
        objects.unet = unet
        forge_networks.give_text_encoders_back(self._backend)
        if left_out:
            objects.clip = forge_networks.clip_of(self._backend, left_out)

    def text_encoders(
        self, networks: Sequence[ComposedNetwork], acting: Sequence[ComposedNetwork]
    ) -> AbstractContextManager[None]:
        return forge_networks.text_encoders(self._backend, networks, acting)

    def text_key(
        self, networks: Sequence[ComposedNetwork], acting: Sequence[ComposedNetwork]
    ) -> Hashable | None:
        if not webui.keeps_conds():
            return None
        kept = forge_networks.kept_clip_keys(self._backend, networks)
        return (webui.text_options(), kept, tuple(one.clip_key for one in acting))

    def texts_at(self, conditions: Conditions, step: int) -> tuple[Any, Any]:
        _, text, uncond = webui.texts_at((conditions.c, conditions.uc), step)
        return text, uncond

    def layers_of(self, network: ComposedNetwork) -> UnetLayers:
        return layers_of(self._backend, network, webui.objects().unet.model)

    def rows_of_call(self, p: Any) -> int:
        """Forge splits calls by free memory alone."""
        return 0

    def put_in_place(self, rows: int, x: Tensor) -> None:
        """A UNet that lacks the composed networks and has our functions."""
        self._backend.check_latents(x)
        objects, bound = webui.objects(), self.bound
        unet = forge_networks.unet_without(self._backend, objects.unet, self.networks)
        self._functions.put_into(unet)
        if bound is not None:
            bound.run.routes.token_layout = webui.token_layout()
            announce_memory(
                self._backend, unet, x, rows, bound.layers.values(), self._options().network_bytes
            )
        objects.unet = unet
        forge_networks.give_text_encoders_back(self._backend)
        self._others, self._further_failed = None, False

    def is_in_place(self) -> bool:
        return self._functions.are_in(webui.objects().unet)

    def load(self, x: Tensor) -> None:
        self._backend.load_for_sampling(webui.objects().unet, x)


def forge_of(
    name: str,
    backend: Backend,
    *,
    all_or_none: bool = False,
    generation: type[ForgeGeneration] = ForgeGeneration,
) -> Webui:
    """The Forge that runs here.

    Args:
        name: for users.
        backend: what this Forge keeps in a form of its own.
        all_or_none: see `Server`.
        generation: of this Forge.
    """
    return webui_of(
        webui.ForgeServices(name, backend),
        partial(generation, backend),
        partial(forge_networks.network_of_pool, backend),
        merged_on_top=False,
        uncond_at_cfg_1=False,
        repeated="each",
        all_or_none=all_or_none,
    )
