"""One sampling pass of the WebUI (the first, a hires pass, one after the refiner) with the engine's run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.conditions import Conditions, ConditionStore
from loratorio_ext.hosts.a1111.evaluation import DenoiserEvaluation
from loratorio_ext.hosts.a1111.layers import layers_of
from loratorio_ext.hosts.a1111.networks import ComposedNetwork
from loratorio_ext.networks.router import Router
from loratorio_ext.run import NetworkUse, Run, Source, cost
from loratorio_ext.settings import Settings


class SamplingPass:
    """Composes the predictions of every model call of one pass.

    Attributes:
        run: the engine's.
        misfits: one sentence for each network that fits the model in part only.
    """

    def __init__(
        self,
        p: Any,
        denoiser: Any,
        settings: Settings,
        networks: Sequence[ComposedNetwork],
        store: ConditionStore,
    ) -> None:
        """Bind the networks to the model that is loaded, and encode the prompts for each of them.

        Raises:
            ValueError: a network has no layer that fits the model.
        """
        self._denoiser = denoiser
        self._model = webui.model_identity()
        self._settings = settings
        self._networks = len(networks)
        self._costs: dict[bool, tuple[int, ...]] = {}
        modules = webui.layers()
        found = [layers_of(one, modules) for one in networks]
        misfits: list[str] = []
        for one, layers in zip(networks, found, strict=True):
            if layers.misfits and not layers.deltas:
                raise ValueError(f"network {one.name!r} fits no layer of this model: {layers.misfits[0]}")
            if layers.misfits:
                number = len(layers.misfits)
                misfits.append(f"network {one.name!r}: {number} layers are left out ({layers.misfits[0]})")
        self.misfits = tuple(misfits)
        self._conditions = self._encode(p, networks, store)
        if not webui.batches_cond_and_uncond() and settings.batch_rows == 0:
            settings = replace(settings, batch_rows=len(p.prompts))  # as the WebUI itself does it then
        touched = {name: modules[name] for layers in found for name in layers.deltas}
        router = Router(touched, [layers.deltas for layers in found])
        self.run = Run(
            settings, [NetworkUse(one.name, one.unet) for one in networks], router, host=webui.NAME
        )

    def belongs_to(self, denoiser: Any) -> bool:
        """Whether this is still the pass of ``denoiser``, and the refiner has not come in."""
        return self._denoiser is denoiser and self._model == webui.model_identity()

    def compose(self, params: Any, predicted: Tensor) -> None:
        """Replace the base's predictions by composed ones, in place.

        Args:
            params: CFGDenoiserParams of the call.
            predicted: CFGDenoisedParams.x.
        """
        evaluation = DenoiserEvaluation.of(params, predicted, self._conditions)
        self._say_cost(evaluation)
        prediction = self.run.step(evaluation)
        evaluation.put(prediction.cond, prediction.uncond)

    def _encode(
        self, p: Any, networks: Sequence[ComposedNetwork], store: ConditionStore
    ) -> Mapping[Source, Conditions]:
        """Conditions of the sources that see other ones than the base."""
        changing = [place for place, one in enumerate(networks) if one.changes_text]
        found: dict[Source, Conditions] = {place: store.encode(p, [networks[place]]) for place in changing}
        acts_merged = self._settings.start > 0 or self._settings.end < 1
        if acts_merged and changing:
            found["merged"] = store.encode(p, networks)
        return found

    def _say_cost(self, evaluation: DenoiserEvaluation) -> None:
        guided = evaluation.guided  # all else is the same at every step of a pass
        if guided not in self._costs:
            self._costs[guided] = cost(
                self._settings,
                self._networks,
                guided,
                total=evaluation.total,
                images=evaluation.images,
                cond_rows=evaluation.cond_rows,
            )
        rows = self._costs[guided]
        plain = evaluation.cond_rows + evaluation.images * guided
        now = rows[min(evaluation.index, len(rows) - 1)]
        webui.say_while_working(f"LoRAtorio: {now} predictions at this step instead of {plain}")
