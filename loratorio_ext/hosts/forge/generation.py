"""LoRAtorio's part of one generation of Forge; lives on ``p`` and goes with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.answer import OneAnswer
from loratorio_ext.hosts.forge.conditions import encode_with, text_key
from loratorio_ext.hosts.forge.hooks import Evaluation, Hooks
from loratorio_ext.hosts.forge.networks import (
    ComposedNetwork,
    clip_of,
    give_text_encoders_back,
    networks_of_prompt,
    take_out_again,
    unet_with_all,
    unet_without,
    with_patches,
)
from loratorio_ext.hosts.forge.sampling_pass import TEXTS_REPLACED, SamplingPass
from loratorio_ext.hosts.forge.texts import Parts, places_of_texts, with_texts
from loratorio_ext.hosts.forge.wrappers import LaterCalls
from loratorio_ext.hosts.webuis.afterwards import pass_record
from loratorio_ext.hosts.webuis.attempt import attempt
from loratorio_ext.hosts.webuis.comments import say, say_that_there_is_none
from loratorio_ext.hosts.webuis.conditions import Conditions, ConditionStore
from loratorio_ext.hosts.webuis.infotext import Infotext
from loratorio_ext.hosts.webuis.pool import Pool
from loratorio_ext.hosts.webuis.tags import ExtraNetworkData, kept_names, said_of_missing
from loratorio_ext.server.history import PassRecord
from loratorio_ext.server.options import Options
from loratorio_ext.settings import Settings


class Generation:
    """Takes networks over, composes, and falls back to what Forge would have done where it cannot.

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
        self._merged: Conditions | None = None
        self._infotext = Infotext(settings)
        self._none = False
        self._hooks = Hooks(self.before_guidance)
        self.passes: list[PassRecord] = []

    # ------------------------------------------------ Forge's hooks, in their order

    def networks_activated(self, p: Any, data: ExtraNetworkData) -> None:
        """Forge has made patchers with all networks of the pass to come; nothing is encoded yet."""
        self._end_pass()
        self._merged = None
        self._networks = ()
        self._infotext.networks_activated(p)
        kept, problems = kept_names(data)
        problems += said_of_missing(data, webui.loaded_networks())
        found = networks_of_prompt(data, kept)
        taken = [one.network_on_disk.filename for one in webui.loaded_networks()]
        pool, problems_of_pool = self._pool.networks(self._settings.pool, taken)
        for problem in (*problems, *problems_of_pool):
            say(p, problem)
        self._networks = (*found, *pool)
        self._none = not self._networks
        if self._none:
            self._infotext.will_not_compose(p)
            return
        self._store.expect(len(self._networks) + 2)
        self._infotext.will_compose(p)
        self.before_encoding(p)

    def before_encoding(self, p: Any) -> None:
        """Prompts are encoded next: the base sees the kept networks alone."""
        if self._networks:
            self._networks = with_patches(self._networks)
            webui.objects().clip = clip_of(self._networks)
            self._store.use(p, text_key(self._networks))

    def before_sampling(self, p: Any, x: Tensor) -> None:
        """A sampler begins; Forge has put the patchers with all networks in place again.

        Before a hires pass this comes twice, and only what the second one does lasts.
        """
        if self._none:
            say_that_there_is_none(p)
        self._end_pass()
        if self._networks:
            self._merged = None
            reason = attempt(lambda: self._begin_pass(p, x))
            if reason is not None:
                self._go_on_merged(p, reason, "the beginning")

    def before_call(self, p: Any, params: Any) -> None:
        """The denoiser is about to evaluate."""
        self._params = params
        self._hooks.begin()
        self._infotext.sampling()
        if self._networks and not self._is_in_place():  # the refiner has come in, or a UNet of others'
            reason = attempt(lambda: self._come_in(p, params.x))
            if reason is not None:
                self._go_on_merged(p, reason, _call(params))
                self._load_merged(p, params.x)
        if self._merged is not None:
            merged, self._merged = (self._merged.c, self._merged.uc), None
            params.denoiser.sampler.sampler_extra_args.update(cond=merged[0], uncond=merged[1])
            params.text_cond, params.text_uncond = webui.texts_at(merged, params.denoiser.step)
        self._hooks.stand_in_place(webui.objects().unet)

    def before_guidance(self, evaluation: Evaluation, is_own: bool) -> Evaluation:
        """The pre-CFG function: evaluates, composes, and lets Forge's evaluation be answered.

        Args:
            evaluation: (model, cond, uncond, x, sigma, model_options).
            is_own: whether it is the denoiser's own, and not one that another extension makes before.
        """
        if self._params is None:
            return evaluation
        if self._pass is None:
            return self._with_merged_texts(evaluation, is_own)
        if isinstance(evaluation[-1].get(webui.WRAPPER), OneAnswer | LaterCalls):
            return evaluation  # of others, by the model that has composed
        p = self._params.denoiser.p
        answers: list[Any] = []
        answer = self._compose if is_own else self._answer_others

        def compose() -> None:
            take_out_again(webui.objects().unet, self._networks)
            answers.append(answer(p, evaluation))

        reason = attempt(compose)
        if reason is not None:
            return self._evaluation_merged(p, evaluation, reason, is_own)
        if answers[0] is None:
            return evaluation
        model, cond, uncond, x, timestep, options = evaluation
        return model, cond, uncond, x, timestep, {**options, webui.WRAPPER: answers[0]}

    def sampled(self, p: Any) -> None:
        """Latents are there; the VAE needs the memory more than we do.

        Our UNet stays in its place until the next batch: a patcher that nobody holds cannot be moved away.
        """
        self._end_pass()
        self._params = None
        self._infotext.sampled()

    def finished(self, p: Any) -> None:
        """The pictures are there."""
        for one in self.passes:
            for warning in one.report.warnings:
                say(p, warning)
        self._pass = self._params = None
        self._hooks.take_out(webui.objects().unet)
        webui.say_while_working(None)

    # ------------------------------------------------ what they need

    def _end_pass(self) -> None:
        """A sampler is done, if one was at work."""
        ended, self._pass = self._pass, None
        if ended is not None and ended.run is not None:
            ended.run.end(stopped=webui.was_stopped())

    def _begin_pass(self, p: Any, x: Tensor) -> None:
        """Bind networks and texts, and put a UNet in place that lacks the composed networks."""
        self._networks = with_patches(self._networks)
        begun = SamplingPass(p, self._settings, self._options(), self._networks, self._store)
        for problem in begun.problems:
            say(p, problem)
        if begun.run is None:
            raise ValueError("no network fits this model")
        objects = webui.objects()
        unet = unet_without(objects.unet, self._networks)
        self._hooks.put_into(unet)
        begun.announce_memory(unet, x)
        objects.unet = unet
        give_text_encoders_back()
        self._pass = begun

    def _come_in(self, p: Any, x: Tensor) -> None:
        """The same while the sampler is at work."""
        self._end_pass()
        self._begin_pass(p, x)
        webui.load_for_sampling(webui.objects().unet, x)

    def _is_in_place(self) -> bool:
        return (
            self._pass is not None
            and self._pass.model == webui.model_identity()
            and self._hooks.are_in(webui.objects().unet)
        )

    def _compose(self, p: Any, evaluation: Evaluation) -> Any:
        if self._pass is None or self._pass.run is None:
            raise RuntimeError("no pass has begun")
        report = self._pass.run.report
        if all(one.report is not report for one in self.passes):
            self.passes.append(pass_record(p, report))
        answer, unchanged = self._pass.compose(self._params.denoiser, evaluation)
        if not unchanged:
            say(p, TEXTS_REPLACED)
        self._infotext.composed()
        return answer

    def _answer_others(self, p: Any, evaluation: Evaluation) -> Any:
        """An evaluation that another extension makes before the denoiser's own."""
        if self._pass is None:
            raise RuntimeError("no pass has begun")
        return self._pass.merged(self._params.denoiser, evaluation)

    def _go_on_merged(self, p: Any, reason: str, when: str) -> None:
        """From here on as Forge would have done it, all networks of the prompt merged."""
        networks, self._networks = self._networks, ()
        self._pass = None
        webui.collect_memory()
        say(p, f"composing failed at {when} ({reason}); from there on the networks act merged, the usual way")
        self._infotext.stopped(p, when)
        objects = webui.objects()
        unet = unet_with_all(objects.unet)
        self._hooks.take_out(unet)
        objects.unet = unet
        in_prompt = [one for one in networks if one.in_prompt]
        encoded: list[Conditions] = []
        failed = attempt(lambda: encoded.append(encode_with(self._store, p, networks, in_prompt)))
        if failed is not None:
            say(p, f"and the prompt could not be encoded ({failed}), so their text encoder parts do not act")
        self._merged = encoded[0] if encoded else None
        give_text_encoders_back()

    def _load_merged(self, p: Any, x: Tensor) -> None:
        """Load the UNet with all networks, in the middle of sampling."""
        reason = attempt(lambda: webui.load_for_sampling(webui.objects().unet, x))
        if reason is not None:
            say(p, f"and the merged model could not be loaded ({reason}), so the networks may not act at all")

    def _evaluation_merged(self, p: Any, evaluation: Evaluation, reason: str, is_own: bool) -> Evaluation:
        """The evaluation at hand with all networks merged."""
        self._go_on_merged(p, reason, _call(self._params))
        self._load_merged(p, evaluation[3])
        return self._with_merged_texts(evaluation, is_own)

    def _with_merged_texts(self, evaluation: Evaluation, is_own: bool) -> Evaluation:
        """The evaluation with the texts that all networks see, where it does not have them yet."""
        merged = self._merged
        if merged is None:
            return evaluation
        model, cond, uncond, x, timestep, options = evaluation
        denoiser = self._params.denoiser
        given, step = denoiser.sampler.sampler_extra_args, denoiser.step
        cond = _retold(cond, webui.conditions_at(given["cond"], step), webui.conditions_at(merged.c, step))
        own = webui.unconditions_at(given["uncond"], step)
        uncond = _retold(uncond, own, webui.unconditions_at(merged.uc, step))
        if is_own:  # until then it is still to come
            self._merged = None
            given.update(cond=merged.c, uncond=merged.uc)
        return model, cond, uncond, x, timestep, options


def _retold(parts: Parts | None, own: Parts | None, texts: Parts | None) -> Parts | None:
    """The dicts with other texts; as they are where another extension has put in texts of its own."""
    places = places_of_texts(parts, own)
    return parts if places is None else with_texts(parts, texts, places)


def _call(params: Any) -> str:
    return f"call {params.denoiser.step + 1} of {params.denoiser.total_steps}"
