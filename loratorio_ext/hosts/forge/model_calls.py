"""Model calls whose rows have networks of their own, inside an evaluation that Forge lays out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import Tensor

from loratorio_ext.networks.router import Router

Table = Sequence[Sequence[float]]
"""For every row the strength of every network."""


class RowsOfRun:
    """What a run takes for its router: remembers the strengths of the rows that it asks for.

    Forge decides how many model calls an evaluation takes and in which order the rows stand there, so the
    router itself is asked in each of those calls.
    """

    def __init__(self, router: Router) -> None:
        """``router``: of the UNet's layers."""
        self._router = router
        self.table: Table = ()

    @property
    def calls(self) -> int:
        """Number of model calls so far whose rows had networks of their own."""
        return self._router.calls

    @contextmanager
    def routing(self, strengths: Table) -> Iterator[None]:
        """See ``run.RouterLike``."""
        self.table = strengths
        try:
            yield
        finally:
            self.table = ()

    def acting(self, table: Table) -> AbstractContextManager[None]:
        """Context of one model call that somebody else lays out, with these rows."""
        return self._router.routing([tuple(strengths) for strengths in table])

    def routed(self, model: Any, table: Table) -> RoutedModel:
        """The model for one evaluation whose chunks have these rows."""
        return RoutedModel(model, self._router, table)

    def release(self) -> None:
        """Drop what was prepared for calls so far."""
        self._router.release()


class RoutedModel:
    """Stands for Forge's KModel in one evaluation: every model call goes through the router.

    Forge joins the conditions of an evaluation into calls of whole chunks, and every chunk has the same rows
    in the same order (calc_cond_uncond_batch); so has every tile where an extension cuts the latent.
    """

    def __init__(self, model: Any, router: Router, table: Table) -> None:
        """``table``: strengths of the rows of one chunk."""
        self._model = model
        self._router = router
        self._table = [tuple(strengths) for strengths in table]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def apply_model(self, x: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        """Denoised predictions [chunks × rows, C, H, W].

        Raises:
            ValueError: another extension has made a call of another number of rows.
        """
        chunks, surplus = divmod(len(x), len(self._table))
        if surplus:
            raise ValueError(
                f"a model call has {len(x)} rows, which is no multiple of the {len(self._table)} that the "
                "evaluation has; another extension has changed them"
            )
        with self._router.routing(self._table * chunks):
            denoised: Tensor = self._model.apply_model(x, t, **conditions)
        return denoised
