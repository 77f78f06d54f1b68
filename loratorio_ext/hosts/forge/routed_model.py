"""Forge's model in one of our evaluations: its calls get networks for each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.networks.router import Places, Router, UnplacedError
from loratorio_ext.run import BRANCHES, Branch, RowStrengths

Chunk = tuple[int, Branch]
"""Which rows of a model call have one dict's text: the place of its pass in an evaluation, and the branch."""

CHUNKS = "loratorio_chunks"
"""The name among a call's conditions under which it says what its chunks are."""


@dataclass(frozen=True)
class ChunkRoutes:
    """How the rows of every chunk get their networks.

    Attributes:
        places: the maps of all rows of ``ForgeEvaluation.predict``; None: no row places networks.
        rows: the number of each row there; None: nobody asked for it.
        strengths: of each row.
    """

    places: Places | None
    rows: dict[Chunk, Sequence[int | None]]
    strengths: dict[Chunk, Sequence[RowStrengths]]


class Chunks(list[Chunk]):
    """The chunks of a call: Forge joins them like its own conditions (backend/sampling/condition.py)."""

    def process_cond(self, **_: object) -> Chunks:
        """The same for rows of any number and place."""
        return self

    def can_concat(self, _: Chunks) -> bool:
        """With all others."""
        return True

    def size(self) -> list[int]:
        """None in memory; reForge asks every condition."""
        return []

    def concat(self, others: Sequence[Chunks]) -> Chunks:
        """In the order of the call's rows."""
        return Chunks(chain(self, *others))


class RoutedModel:
    """Stands in for Forge's KModel in one evaluation: every model call goes through the router.

    Forge joins the conditions of an evaluation into calls of whole chunks, and all have the same images in
    one order (calc_cond_uncond_batch); so does every tile where an extension cuts the latent up.

    Attributes:
        calls: model calls so far.
        predicted: denoised predictions [rows, C, H, W] of the chunks of calls that several passes share.
    """

    def __init__(self, model: Any, router: Router, routes: ChunkRoutes, controls: Sequence[Any]) -> None:
        """``routes``: of the rows of every chunk; ``controls``: ControlNets of the evaluation."""
        self.calls = 0
        self.predicted: dict[Chunk, Tensor] = {}
        self._model = model
        self._router = router
        self._routes = routes
        self._controls = controls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def apply_model(self, x: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        """Denoised predictions [chunks × rows, C, H, W].

        Raises:
            ValueError: another extension has made a call with a different number of rows.
            UnplacedError: it has cut the latent up, or has calls of chunks that are not known.
        """
        routes, rows = self._routes, len(self._routes.rows[0, "cond"])
        count, surplus = divmod(len(x), rows)
        if surplus:
            raise ValueError(
                f"a model call has {len(x)} rows, which is not a multiple of the {rows} that the evaluation "
                "has; another extension has changed them"
            )
        named: Chunks | None = conditions.pop(CHUNKS, None)
        # Forge's numbers for the branches are their places in BRANCHES.
        chunks = named or [(0, BRANCHES[one]) for one in conditions["transformer_options"]["cond_or_uncond"]]
        if len(chunks) != count or (routes.places is not None and not routes.places.suit(x)):
            if routes.places is not None:
                raise UnplacedError("another extension has cut the picture up, or has added model calls")
            if any(strengths != routes.strengths[0, "cond"] for strengths in routes.strengths.values()):
                raise ValueError(
                    "another extension has cut the picture up, or has added model calls, so networks cannot "
                    "act on one side of the guidance"
                )
            chunks = [(0, "cond")] * count
        table = [strengths for chunk in chunks for strengths in routes.strengths[chunk]]
        places = routes.places
        if places is not None:
            places = places.of([row for chunk in chunks for row in routes.rows[chunk]])
        with self._router.routing(table, places):
            denoised: Tensor = self._model.apply_model(x, t, **conditions)
        if named is not None:
            self.predicted.update(zip(named, denoised.chunk(len(named)), strict=True))
            # Forge may leave further chunks to a call of another size.
            for control in self._controls:
                webui.forget_features(control)
        self.calls += 1
        return denoised
