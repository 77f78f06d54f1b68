"""One sampling pass of Forge (the first, a hires pass, one after the refiner) with the engine's run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.answer import OneAnswer
from loratorio_ext.hosts.forge.composed_model import ComposedModel
from loratorio_ext.hosts.forge.conditions import encode_with
from loratorio_ext.hosts.forge.evaluation import ForgeEvaluation
from loratorio_ext.hosts.forge.layers import layers_of
from loratorio_ext.hosts.forge.memory import announce, bytes_of, tensors_at_once
from loratorio_ext.hosts.forge.model_calls import RowsOfRun
from loratorio_ext.hosts.forge.networks import ComposedNetwork
from loratorio_ext.hosts.forge.texts import Texts, places_of_texts, with_texts
from loratorio_ext.hosts.forge.wrappers import LaterCalls, hands_on
from loratorio_ext.hosts.webuis.comments import say
from loratorio_ext.hosts.webuis.conditions import Conditions, ConditionStore
from loratorio_ext.hosts.webuis.misfits import LayersOfNetwork, problems_of_layers
from loratorio_ext.hosts.webuis.progress import CostText
from loratorio_ext.networks.router import Router
from loratorio_ext.run import Again, NetworkUse, Run, Source
from loratorio_ext.server.options import Options
from loratorio_ext.settings import Settings

TEXTS_REPLACED = (
    "another extension has replaced the prompt's conditions, so the text encoder parts of the networks do "
    "not act"
)

FURTHER_CALLS = "another extension's own calls of the model could not be composed"


class SamplingPass:
    """Composes the predictions of every evaluation of one pass.

    Attributes:
        networks: those that fit the model.
        run: the engine's; None where no network fits.
        problems: one sentence for each network that fits in part only or not at all.
    """

    def __init__(
        self,
        p: Any,
        settings: Settings,
        options: Options,
        networks: Sequence[ComposedNetwork],
        store: ConditionStore,
    ) -> None:
        """Bind the networks to the model that is loaded, and encode the prompts for each of them."""
        settings = replace(settings, batch_rows=options.rows_of(settings.batch_rows))
        self._settings = settings
        self._options = options
        modules: dict[str, nn.Module] = {}
        fitting: dict[ComposedNetwork, LayersOfNetwork] = {}
        model = webui.objects().unet.model
        for one in networks:
            fitting[one], touched = layers_of(one, model)
            modules |= touched
        self.problems = problems_of_layers(fitting)
        self._layers = {one: found for one, found in fitting.items() if found.deltas or one.changes_text}
        self.networks = tuple(self._layers)
        self._cost = CostText(settings, len(self.networks))
        self._wrapper: tuple[webui.Wrapper, bool] | None = None
        self._failed_later = False
        self.run: Run | None = None
        self.model = webui.model_identity()
        if not self.networks:
            return
        self._conditions = self._encode(p, networks, store)
        deltas = [found.deltas for found in self._layers.values()]
        router = Router(modules, deltas, cache_bytes=options.network_bytes)
        self._rows_of_run = RowsOfRun(router)
        uses = [NetworkUse(one.name, one.unet) for one in self.networks]
        self.run = Run(settings, uses, self._rows_of_run, host=webui.NAME)

    def announce_memory(self, unet: Any, x: Tensor) -> None:
        """Ask Forge's memory management for room, on the patcher that samples."""
        rows = self._settings.batch_rows or 2 * len(x) * (len(self.networks) + 1)
        model = unet.model
        networks = [
            bytes_of(one.deltas, model, model.computation_dtype.itemsize) for one in self._layers.values()
        ]
        announce(unet, x, rows, tensors_at_once(networks, rows, self._options.network_bytes))

    def compose(
        self, denoiser: Any, evaluation: tuple[Any, Any, Any, Tensor, Tensor, Mapping[str, Any]]
    ) -> tuple[OneAnswer | None, bool]:
        """(the composed predictions as an answer to the evaluation, whether the texts are the prompt's own).

        The answer is None where no condition acts at this sigma, so that there is nothing to evaluate.

        Args:
            denoiser: Forge's CFGDenoiser.
            evaluation: model, cond, uncond, x, timestep, model_options of a pre-CFG function.
        """
        if self.run is None:
            raise RuntimeError("no network fits the model, so there is nothing to compose")
        model, cond, uncond, x, timestep, model_options = evaluation
        acting = [part for part in cond if webui.area_of(part, x, timestep) is not None]
        if not acting:
            return None, True
        texts, unchanged = self._texts(denoiser, Texts(acting, uncond))
        asked = ForgeEvaluation(
            model=model,
            rows_of_run=self._rows_of_run,
            x=x,
            timestep=timestep,
            model_options=model_options,
            texts=texts,
            index=int(denoiser.step),
            total=max(int(denoiser.total_steps), 1),
        )
        webui.say_while_working(self._cost.of(asked))
        others = model_options.get(webui.WRAPPER)
        around = others if others is not None and self._hands_on(others, evaluation) else None
        if around is not None:
            inside = {name: value for name, value in model_options.items() if name != webui.WRAPPER}
            asked = replace(asked, model_options=inside)
        prediction = self.run.step(asked)
        again = None if self._failed_later else prediction.again
        later = self._later(self.run, denoiser.p, again, texts, x, others)
        composed = asked.combined(prediction.cond)
        answer = OneAnswer(composed, prediction.uncond, (cond, uncond), x, timestep, later, around)
        return answer, unchanged

    def merged(
        self, denoiser: Any, evaluation: tuple[Any, Any, Any, Tensor, Tensor, Mapping[str, Any]]
    ) -> LaterCalls:
        """A wrapper for an evaluation of another extension before the denoiser's own: all networks merged.

        There are no weights yet. The arguments are as for `compose`.
        """
        if self.run is None:
            raise RuntimeError("no network fits the model, so none can act")
        _, cond, uncond, x, _, model_options = evaluation
        texts, _ = self._texts(denoiser, Texts(cond, uncond))
        return self._later(self.run, denoiser.p, None, texts, x, model_options.get(webui.WRAPPER))

    def _later(
        self,
        run: Run,
        p: Any,
        again: Again | None,
        texts: Mapping[Source, Texts],
        x: Tensor,
        others: webui.Wrapper | None,
    ) -> LaterCalls:
        def failed(reason: str) -> None:
            self._failed_later = True
            say(p, f"{FURTHER_CALLS} ({reason}); from there on they get all networks merged")

        composed = ComposedModel(again, self._rows_of_run, run.strengths, texts, x.shape, failed)
        return LaterCalls(composed, others)

    def _hands_on(
        self,
        others: webui.Wrapper,
        evaluation: tuple[Any, Any, Any, Tensor, Tensor, Mapping[str, Any]],
    ) -> bool:
        """Whether a wrapper of others is to see composed predictions; found out once, by the base's rows."""
        if self._wrapper is None or self._wrapper[0] is not others:

            def evaluate(wrapper: webui.Wrapper) -> None:
                model, cond, uncond, x, timestep, model_options = evaluation
                watched = {**model_options, webui.WRAPPER: wrapper}
                webui.evaluate(model, cond, uncond, x, timestep, watched)

            self._wrapper = (others, hands_on(others, evaluate))
        return self._wrapper[1]

    def _texts(self, denoiser: Any, base: Texts) -> tuple[dict[Source, Texts], bool]:
        """Conditions by source; the base's alone where another extension has put in texts of its own."""
        step = denoiser.step
        given = denoiser.sampler.sampler_extra_args
        cond_places = places_of_texts(base.cond, webui.conditions_at(given["cond"], step))
        uncond_places = places_of_texts(base.uncond, webui.unconditions_at(given["uncond"], step))
        texts: dict[Source, Texts] = {"base": base}
        if cond_places is None or uncond_places is None:
            return texts, not self._conditions
        for source, one in self._conditions.items():
            cond = with_texts(base.cond, webui.conditions_at(one.c, step), cond_places)
            uncond = with_texts(base.uncond, webui.unconditions_at(one.uc, step), uncond_places)
            texts[source] = Texts(cond or (), uncond)
        return texts, True

    def _encode(
        self, p: Any, networks: Sequence[ComposedNetwork], store: ConditionStore
    ) -> dict[Source, Conditions]:
        """Conditions of the sources that see other ones than the base."""
        changing = [place for place, one in enumerate(self.networks) if one.changes_text]
        found: dict[Source, Conditions] = {
            place: encode_with(store, p, networks, [self.networks[place]]) for place in changing
        }
        if len(self.networks) == 1 and changing:
            found["merged"] = found[0]
        elif changing:  # outside the window, and for calls of others
            found["merged"] = encode_with(store, p, networks, self.networks)
        return found
