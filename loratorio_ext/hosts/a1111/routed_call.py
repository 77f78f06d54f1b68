"""The WebUI's own model call of one step, with networks for each of its rows: what a plain step costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.tiles import Tiles, is_mixed
from loratorio_ext.networks.router import Places, Router
from loratorio_ext.run import Branch, RowStrengths


class RoutedCall:
    """Hooks around the denoiser's model, which belongs to one sampler and goes with it.

    CFGDenoiser.forward predicts its conditional rows and then the unconditional ones, in one call or in
    several (modules/sd_samplers_cfg_denoiser.py). Nothing that fails here ends the WebUI's call.

    Attributes:
        base: the call's texts as the base sees them, by branch.
        is_placed: whether networks are placed in it; otherwise its rows are the base's.
        failure: why its predictions cannot be used, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        router: Router,
        strengths: Sequence[RowStrengths],
        places: Places | None,
        base: Mapping[Branch, Any],
        tiles: Tiles,
    ) -> None:
        """Begin: the model's calls belong to this step until `end`.

        Args:
            model: what the denoiser calls.
            router: gives rows their networks.
            strengths: of all rows of the step, the conditional ones first.
            places: the maps of these rows; None: the rows are the base's.
            base: see the attribute.
            tiles: of the pass.
        """
        self.base = dict(base)
        self.is_placed = places is not None
        self.failure: str | None = None
        self._router, self._strengths, self._places = router, strengths, places
        self._tiles = tiles
        self._predicted = 0
        self._routing = ExitStack()
        self._handles = [
            model.register_forward_pre_hook(self._before),
            model.register_forward_hook(self._after, always_call=True),
        ]

    def end(self) -> None:
        """The step's calls are made."""
        for handle in self._handles:
            handle.remove()
        self._routing.close()
        if self._predicted != len(self._strengths):
            self._fail(f"the model was asked for {self._predicted} rows instead of {len(self._strengths)}")

    def _before(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        x, first = args[0], self._predicted
        self._predicted += len(x)
        placed = self._places
        if self._predicted > len(self._strengths) or not (placed is None or placed.suit(x)):
            self._fail("another extension calls the model too, or cuts the picture up")
            return
        rows = range(first, self._predicted)
        strengths = [self._strengths[row] for row in rows]
        try:
            places = None if placed is None else placed.of(rows)
            self._routing.enter_context(self._tiles.watched(strengths))
            self._routing.enter_context(webui.unet_calls(self._look))
            self._routing.enter_context(self._router.routing(strengths, places, self._fail))
        except (RuntimeError, ValueError) as error:
            self._fail(error)

    def _look(self, x: Tensor) -> None:
        """A tile may be as large as the picture is at a deeper layer, so the layers cannot tell."""
        of_others = self._tiles.found and is_mixed(self._strengths)
        if of_others or not (self._places is None or self._places.suit(x)):
            self._fail("another extension cuts the picture into tiles")

    def _after(self, model: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        self._routing.close()

    def _fail(self, reason: object) -> None:
        self.failure = self.failure or str(reason)
