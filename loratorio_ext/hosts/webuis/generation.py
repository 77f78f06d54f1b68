"""LoRAtorio's part of one generation, the same for all WebUIs; it is kept on ``p`` and goes with it.

What differs between WebUIs is asked through ``adapter.Adapter``, which the adapters' generations answer.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from torch import Tensor

from loratorio_ext.hosts.webuis.adapter import Adapter, ExtraNetworkData, Network, NotComposableError
from loratorio_ext.hosts.webuis.comments import say
from loratorio_ext.hosts.webuis.conditions import Conditions, ConditionStore, use_the_webui_s_caches
from loratorio_ext.hosts.webuis.hooks import Hooks
from loratorio_ext.hosts.webuis.infotext import Infotext
from loratorio_ext.hosts.webuis.networks import Pool, endless_strength, missing_networks, own_arguments_of
from loratorio_ext.hosts.webuis.sampling_pass import SamplingPass, unmatched_layers
from loratorio_ext.networks.arguments import OwnArguments
from loratorio_ext.networks.router import Router
from loratorio_ext.run import BRANCHES, Evaluation, NetworkUse, Prediction, Routes, Run, Source
from loratorio_ext.server.history import PassRecord
from loratorio_ext.server.options import Options
from loratorio_ext.settings import Settings

if TYPE_CHECKING:
    from loratorio_ext.hosts.webuis.webui import WebuiServices

logger = logging.getLogger("loratorio")

NONE_FITS = "no network fits this model"

Arguments = ParamSpec("Arguments")
OneGeneration = TypeVar("OneGeneration", bound="Generation[Any]")


def attempt(action: Callable[[], object], what: str = "composing") -> str | None:
    """What went wrong, or None. On return the exception is gone, and with it what its frames held."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - whatever it is, the picture must not be the base's alone
        if not isinstance(error, NotComposableError):
            # As text: a log record that holds the exception would hold the frames too.
            logger.warning("%s failed\n%s", what, traceback.format_exc())
        return str(error) or type(error).__name__
    return None


def guarded(
    hook: Callable[Concatenate[OneGeneration, Any, Arguments], None],
) -> Callable[Concatenate[OneGeneration, Any, Arguments], None]:
    """A hook that never raises: whatever fails, the networks act merged, and a comment says why."""

    @wraps(hook)
    def guarded_hook(
        self: OneGeneration, p: Any, /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> None:
        reason = attempt(lambda: hook(self, p, *args, **kwargs))
        if reason is not None:
            self.give_up(p, reason)

    return guarded_hook


class Generation(Hooks, Adapter[Network]):
    """Takes networks out of the model, composes, and falls back to what the WebUI would have done.

    Attributes:
        networks: those that take part in the current pass; empty once it has fallen back.
        bound: the current pass; None before its networks are bound, and once it has fallen back.
    """

    passes: list[PassRecord]

    def __init__(
        self,
        settings: Settings,
        store: ConditionStore,
        pool: Pool[Network],
        options: Callable[[], Options],
        services: WebuiServices,
    ) -> None:
        """Nothing is asked of the WebUI yet; ``options`` is called when a pass begins."""
        self.settings = settings
        self.networks: Sequence[Network] = ()
        self.bound: SamplingPass[Network] | None = None
        self.passes = []
        self.infotext = Infotext(settings)
        self._store = store
        self._pool = pool
        self._options = options
        self._services = services
        self._none_takes_part = False
        self._merged: Conditions | None = None
        self._arguments: dict[str, OwnArguments] = {}
        self._first_pass: Run | None = None  # of the batch

    # ------------------------------------------------ the WebUI's hooks, in order

    @guarded
    def networks_activated(self, p: Any, data: ExtraNetworkData) -> None:
        """Find the networks of the prompt and of the pool, and take them out of the model."""
        self._end_pass()
        self.networks, self._merged, self._none_takes_part = (), None, False
        if not getattr(p, "is_hr_pass", False):
            self._first_pass = None
        use_the_webui_s_caches(p)
        self.infotext.networks_activated(p)
        self._arguments, problems = own_arguments_of(data)
        obstacle = self.obstacle(p) or endless_strength(data)
        if obstacle is not None:
            both = any(not own.cond for own in self._arguments.values())
            sides = ", on both sides of the guidance also where their tags say cond=0" if both else ""
            if self._arguments or self.settings.pool:
                say(p, f"{obstacle}; the networks act merged, the usual way{sides}")
            self.infotext.will_not_compose(p)
            return
        kept = {name for name, own in self._arguments.items() if own.as_merged}
        loaded = self._services.loaded()
        taken = {one.file for one in loaded}
        pool, problems_of_pool = self._pool.networks(self.settings, _text_of(p), taken)
        for problem in (*problems, *missing_networks(data, loaded), *problems_of_pool):
            say(p, problem)
        self.networks = (*self.networks_of_prompt(data, kept), *pool)
        if not self.networks:
            self._none_takes_part = True
            self.infotext.will_not_compose(p)
            return
        self._store.expect(len(self.networks) + 2)
        self.infotext.will_compose(p)
        self._take_out(p)

    @guarded
    def before_encoding(self, p: Any) -> None:
        """The base sees only the kept networks, whatever other extensions have loaded since."""
        if self.networks:
            self._take_out(p)

    @guarded
    def before_sampling(self, p: Any, x: Tensor) -> None:
        """Before a hires pass this may be called twice, and only what the second call does lasts."""
        if self._none_takes_part:
            place = " in the hires pass" if getattr(p, "is_hr_pass", False) else " in the first pass"
            say(p, f"there is no network to compose{place if getattr(p, 'enable_hr', False) else ''}")
        self._end_pass()
        if self.networks and self.binds_before_sampling:
            self._merged = None
            reason = attempt(lambda: self._bind(p, x))
            if reason is not None:
                self.fall_back(p, reason, "the beginning")

    @guarded
    def before_call(self, p: Any, params: Any) -> None:
        """Bind the networks where a sampler begins or the model has changed; give merged texts where due."""
        self.infotext.is_sampling = True
        if self.networks:
            reason = attempt(lambda: self._bind_where_due(p, params.x))
            if reason is not None:
                self.fall_back(p, reason, call_of(params), params.x)
        merged = self.merged_from_here_on(params)
        if merged is not None:
            params.text_cond, params.text_uncond = self.texts_at(merged, params.denoiser.step)

    @guarded
    def sampled(self, p: Any) -> None:
        """The pass is over."""
        self._end_pass()
        self._first_pass, self.infotext.is_sampling = None, False

    @guarded
    def finished(self, p: Any) -> None:
        """Tell the user the reports' warnings."""
        for warning in [warning for one in self.passes for warning in one.report.warnings]:
            say(p, warning)
        self.bound = None
        self._services.say_while_working(None)

    # ------------------------------------------------ for the adapters, at a model call

    def step(self, p: Any, evaluation: Evaluation) -> Prediction:
        """Compose one evaluation; RuntimeError where no pass has begun."""
        bound = self.bound
        if bound is None:
            raise RuntimeError("no pass has begun")
        report = bound.run.report
        if not self.passes or self.passes[-1].report is not report:
            hires = bool(getattr(p, "is_hr_pass", False))
            self.passes.append(PassRecord(int(getattr(p, "iteration", 0)), hires, report))
        return bound.run.step(evaluation)

    def fall_back(self, p: Any, reason: str, when: str, x: Tensor | None = None) -> None:
        """Go on with this pass as the WebUI would have done, all networks of the prompt merged.

        `merged_from_here_on` then gives their conditions. ``when``: where in the generation, for users;
        ``x``: noisy latents, given while a sampler is running, so that the model has to be loaded.
        """
        networks, self.bound = self.networks, None
        self._services.collect_memory()
        said = f"composing failed at {when} ({reason}); from there on the networks act merged, the usual way"
        say(p, f"{reason}, so none acts from {when} on" if reason == NONE_FITS else said)
        self.infotext.stopped(p, when)
        self.networks = ()
        self._put_back(p, networks)
        encoded: list[Conditions] = []
        failed = attempt(lambda: encoded.append(self._store.encode(p, None, self.encode)))
        if failed is not None:
            say(p, f"and the prompt could not be encoded ({failed}), so their text encoder parts do not act")
        self._merged = encoded[0] if encoded else None
        use_the_webui_s_caches(p)
        if x is not None:
            failed = attempt(lambda: self.load(x))
            if failed is not None:
                said = f"and the merged model could not be loaded ({failed})"
                say(p, f"{said}, so the networks may not act at all")

    def merged_from_here_on(self, params: Any) -> Conditions | None:
        """Once after a fallback: the conditions as all networks see them; the sampler gets them too.

        ``params``: CFGDenoiserParams of the current call.
        """
        merged, self._merged = self._merged, None
        if merged is not None:
            params.denoiser.sampler.sampler_extra_args.update(cond=merged.c, uncond=merged.uc)
        return merged

    def give_up(self, p: Any, reason: str) -> None:
        """A hook has failed unexpectedly: nothing of ours stays, and a comment says why."""
        networks, self.networks, self.bound, self._merged = self.networks, (), None, None
        say(p, f"composing failed ({reason}); the networks act merged, the usual way")
        attempt(lambda: self.infotext.will_not_compose(p), "taking the infotext back")
        attempt(lambda: use_the_webui_s_caches(p), "giving the caches back")
        attempt(lambda: self._put_back(p, networks), "putting the networks back")

    # ------------------------------------------------ what these need

    def encode(self, p: Any) -> tuple[Any, Any]:
        """See `WebuiServices.encode`."""
        return self._services.encode(p)

    def _put_back(self, p: Any, networks: Sequence[Network]) -> None:
        """All but networks for the unconditional alone: merged, they would act on the other side too."""
        left_out = [one for one in networks if not self._own(one).cond]
        if left_out:
            say(p, f"{', '.join(repr(one.name) for one in left_out)} (cond=0) does not act then")
        self.put_back([one for one in networks if one not in left_out], left_out)

    def _take_out(self, p: Any) -> None:
        self.networks = self.take_out(self.networks)
        self._store.use(p, self.text_key(self.networks, ()))

    def _encode(self, p: Any, acting: Sequence[Network]) -> Conditions:
        """The prompts of the pass that ``p`` is in, with the text encoder parts of ``acting``."""
        key = self.text_key(self.networks, acting)
        with self.text_encoders(self.networks, acting):
            return self._store.encode(p, key, self.encode)

    def _end_pass(self) -> None:
        """A sampler is done, if one was running."""
        ended, self.bound = self.bound, None
        if ended is not None:
            self._first_pass = self._first_pass or ended.run
            ended.run.end(stopped=self._services.was_stopped())

    def _bind(self, p: Any, x: Tensor) -> None:
        """Bind the networks to the model that is loaded, and encode the prompts for each of them."""
        self.networks = self.take_out(self.networks)
        options = self._options()
        rows = options.rows_of(self.settings.batch_rows or self.rows_of_call(p))
        settings = replace(self.settings, batch_rows=rows)
        layers = {one: self.layers_of(one) for one in self.networks}
        for problem in unmatched_layers(layers):
            say(p, problem)
        layers = {one: found for one, found in layers.items() if found.deltas or one.changes_text}
        if not layers:
            raise NotComposableError(NONE_FITS)
        conditions = self._conditions_of(p, tuple(layers))
        modules = {name: module for found in layers.values() for name, module in found.deltas.modules.items()}
        deltas = [found.deltas for found in layers.values()]
        router = Router(modules, deltas, cache_bytes=options.network_bytes)
        uses = [NetworkUse.of(one.name, one.unet, self._own(one)) for one in layers]
        run = Run(settings, uses, host=self._services.name, announce=self._services.announce)
        if _cfg_of(p) == 1:
            run.is_unguided()
        if self._first_pass is not None and getattr(p, "is_hr_pass", False):
            run.go_on_from(self._first_pass, (x.shape[-2], x.shape[-1]))
        self.bound = SamplingPass(run, router, layers, conditions, self._services.model_identity())
        self.put_in_place(rows or 2 * len(x) * (len(layers) + 1), x)

    def _own(self, network: Network) -> OwnArguments:
        """A network of the pool has no tag."""
        return self._arguments.get(network.name, OwnArguments()) if network.in_prompt else OwnArguments()

    def _bind_where_due(self, p: Any, x: Tensor) -> None:
        """While a sampler is running: at its first model call, or where the model has changed."""
        bound = self.bound
        if bound and bound.model == self._services.model_identity() and self.is_in_place():
            return
        self._end_pass()
        self._bind(p, x)
        self.load(x)

    def _conditions_of(self, p: Any, networks: Sequence[Network]) -> dict[Source, Conditions]:
        """Conditions of the sources whose conditions differ from what the WebUI encodes for the base."""
        owns = [self._own(one) for one in networks]
        acting = [float(one.changes_text and not own.never) for one, own in zip(networks, owns, strict=True)]
        if not any(acting):
            return {}
        uses = [NetworkUse.of(one.name, at, own) for one, at, own in zip(networks, acting, owns, strict=True)]
        routes, one = Routes(uses), self.settings
        acts_merged = one.start > 0 or one.end < 1 or one.looks > 0 or self.answers_further_calls
        encoded: dict[tuple[Network, ...], Conditions] = {}

        def conditions(source: Source) -> Conditions | None:
            sides = []
            for branch in BRANCHES:
                strengths = zip(networks, routes.of(source, branch), strict=True)
                sides.append(tuple(network for network, strength in strengths if strength))
            if not any(sides):
                return None
            for side in sides:
                encoded[side] = encoded[side] if side in encoded else self._encode(p, side)
            cond, uncond = (encoded[side] for side in sides)
            return Conditions(cond.c, uncond.uc)

        composed = range(sum(own.composed for own in owns))
        sources: tuple[Source, ...] = ("base", *composed, *(("merged",) if acts_merged else ()))
        found = ((source, conditions(source)) for source in sources)
        return {source: one for source, one in found if one is not None}


def _text_of(p: Any) -> str:
    """The prompts of the pass that ``p`` is in; the WebUI has taken the tags out of them."""
    prompts = getattr(p, "hr_prompts", None) if getattr(p, "is_hr_pass", False) else None
    return "\n".join(map(str, prompts or p.prompts))


def _cfg_of(p: Any) -> float:
    """The CFG scale of the pass that ``p`` is in; Forge has another one for the hires pass."""
    scale = getattr(p, "hr_cfg", None) if getattr(p, "is_hr_pass", False) else None
    return float(scale or p.cfg_scale)


def call_of(params: Any) -> str:
    """Which of the sampler's model calls ``CFGDenoiserParams`` belong to, for users."""
    return f"call {params.denoiser.step + 1} of {params.denoiser.total_steps}"
