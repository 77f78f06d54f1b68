"""One sampling pass of the WebUI (the first, a hires pass, one after the refiner) with the engine's run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.conditions import encode_with
from loratorio_ext.hosts.a1111.evaluation import DenoiserEvaluation
from loratorio_ext.hosts.a1111.layers import layers_of
from loratorio_ext.hosts.a1111.networks import ComposedNetwork
from loratorio_ext.hosts.webuis.conditions import Conditions, ConditionStore
from loratorio_ext.hosts.webuis.misfits import problems_of_layers
from loratorio_ext.hosts.webuis.progress import CostText
from loratorio_ext.networks.router import Router
from loratorio_ext.run import NetworkUse, Run, Source
from loratorio_ext.server.options import Options
from loratorio_ext.settings import Settings


class SamplingPass:
    """Composes the predictions of every model call of one pass.

    Attributes:
        networks: those that fit the model.
        run: the engine's; None where no network fits the model.
        problems: one sentence for each network that fits the model in part only or not at all.
    """

    def __init__(
        self,
        p: Any,
        denoiser: Any,
        settings: Settings,
        options: Options,
        networks: Sequence[ComposedNetwork],
        store: ConditionStore,
    ) -> None:
        """Bind the networks to the model that is loaded, and encode the prompts for each of them."""
        self._denoiser = denoiser
        self._model = webui.model_identity()
        rows = settings.batch_rows
        if not webui.batches_cond_and_uncond() and rows == 0:
            rows = len(p.prompts)  # as the WebUI itself does it then
        settings = replace(settings, batch_rows=options.rows_of(rows))
        self._settings = settings
        modules = webui.layers()
        fitting = {one: layers_of(one, modules) for one in networks}
        self.problems = problems_of_layers(fitting)
        fitting = {one: found for one, found in fitting.items() if found.deltas or one.changes_text}
        self.networks = tuple(fitting)
        self._cost = CostText(settings, len(self.networks))
        self.run: Run | None = None
        if not fitting:
            return
        self._conditions = self._encode(p, store)
        touched = {name: modules[name] for found in fitting.values() for name in found.deltas}
        deltas = [found.deltas for found in fitting.values()]
        router = Router(touched, deltas, cache_bytes=options.network_bytes)
        self.run = Run(settings, [NetworkUse(one.name, one.unet) for one in fitting], router, host=webui.NAME)

    def belongs_to(self, denoiser: Any) -> bool:
        """Whether this is still the pass of ``denoiser``, and the refiner has not come in."""
        return self._denoiser is denoiser and self._model == webui.model_identity()

    def compose(self, params: Any, predicted: Tensor) -> None:
        """Replace the base's predictions by composed ones, in place.

        Args:
            params: CFGDenoiserParams of the call.
            predicted: CFGDenoisedParams.x.
        """
        if self.run is None:
            raise RuntimeError("no network fits the model, so there is nothing to compose")
        evaluation = DenoiserEvaluation.of(params, predicted, self._conditions)
        webui.say_while_working(self._cost.of(evaluation))
        prediction = self.run.step(evaluation)
        evaluation.put(prediction.cond, prediction.uncond)

    def _encode(self, p: Any, store: ConditionStore) -> Mapping[Source, Conditions]:
        """Conditions of the sources that see other ones than the base."""
        changing = [place for place, one in enumerate(self.networks) if one.changes_text]
        found: dict[Source, Conditions] = {
            place: encode_with(store, p, [self.networks[place]]) for place in changing
        }
        acts_merged = self._settings.start > 0 or self._settings.end < 1
        if acts_merged and changing:
            found["merged"] = encode_with(store, p, self.networks)
        return found
