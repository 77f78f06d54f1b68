"""What a host hands over for one model evaluation, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, SupportsFloat

from torch import Tensor

from loratorio_ext.method import Subprompts
from loratorio_ext.run.again import Again
from loratorio_ext.run.rows import Row


class Evaluation(Protocol):
    """One evaluation of the model by the host's sampler.

    A sampler of second order evaluates the model more often than it has steps: ``index`` and ``total`` count
    evaluations, and so do the settings start, end and rescan and the period of Switch.
    """

    @property
    def index(self) -> int:
        """Number of this evaluation, from 0."""

    @property
    def total(self) -> int:
        """How many evaluations the sampler will make, as far as the host knows; at least 1."""

    @property
    def sigma(self) -> SupportsFloat:
        """Noise level or timestep, as the host counts it; a tensor is read with the report, not before."""

    @property
    def subprompts(self) -> Subprompts | None:
        """AND sub-prompts; None: conditional row b is image b."""

    @property
    def images(self) -> int:
        """Number of images B in the batch."""

    @property
    def cond_rows(self) -> int:
        """Number of conditional rows R; B without AND sub-prompts."""

    @property
    def guided(self) -> bool:
        """Whether an unconditional prediction is wanted."""

    @property
    def base_calls(self) -> int:
        """Model calls that the host has made for all rows of the base before, whether they are used or not.

        ``predict`` hands these rows out then, without a call. 0: they are predicted like any others.
        """

    @property
    def noise_scale(self) -> float | Tensor:
        """|∂ε/∂e|: how much predicted noise a unit of prediction is, at this noise level; above 0.

        A tensor of one element on the model's device is fine. A common factor of all evaluations does not
        matter.
        """

    def predict(self, rows: Sequence[Row]) -> Tensor:
        """Predictions [len(rows), C, H, W] of these rows from ONE model call, inside the router's context."""

    def call_group(self, row: Row) -> Hashable:
        """Rows with different groups never share a call (texts of different length, for example)."""

    def compare_as(self, space: Literal["noise", "denoised"]) -> Callable[[Tensor], Tensor] | None:
        """Map conditional predictions [..., R, C, H, W] into the space of the cosine; None: as they are."""


@dataclass(frozen=True)
class Prediction:
    """What the host combines by its own guidance, in the space of ``Evaluation.predict``.

    Attributes:
        cond: [R, C, H, W].
        uncond: [B, C, H, W]; None without guidance.
        again: how it was made, for whoever asks the model once more; None for a way that exists for
            comparison only.
    """

    cond: Tensor
    uncond: Tensor | None
    again: Again | None = None


@dataclass(frozen=True)
class Layout:
    """Which conditional row belongs to which image.

    Attributes:
        image_of: the image of each conditional row; length R.
        shares: for each image its rows, and the part of each in the mean of the image (by AND weight); the
            parts of an image sum to 1.
        guided: whether there are unconditional rows.
        base_calls: see `Evaluation`.
    """

    image_of: tuple[int, ...]
    shares: tuple[Mapping[int, float], ...]
    guided: bool
    base_calls: int = 0

    @property
    def cond_rows(self) -> int:
        """Number of conditional rows R."""
        return len(self.image_of)

    @property
    def images(self) -> int:
        """Number of images B."""
        return len(self.shares)

    @property
    def plain_rows(self) -> int:
        """Rows that a plain generation evaluates at this step."""
        return self.cond_rows + (self.images if self.guided else 0)

    @classmethod
    def of(cls, evaluation: Evaluation) -> Layout:
        """Read and check what the host says about its rows.

        Raises:
            ValueError: the numbers contradict each other; says which and how they must be.
        """
        _at_least("index", evaluation.index, 0)
        _at_least("total", evaluation.total, 1)
        _at_least("images", evaluation.images, 1)
        _at_least("base_calls", evaluation.base_calls, 0)
        subprompts, images, rows = evaluation.subprompts, evaluation.images, evaluation.cond_rows
        guided, base_calls = evaluation.guided, evaluation.base_calls
        if subprompts is None:
            if rows != images:
                raise ValueError(
                    f"the host's cond_rows is {rows} and its images is {images}; without subprompts they "
                    "must be equal: give subprompts that say which row belongs to which image"
                )
            alone = tuple({image: 1.0} for image in range(images))
            return cls(tuple(range(images)), alone, guided, base_calls)
        if len(subprompts.images) != rows:
            raise ValueError(
                f"the host's subprompts speak of {len(subprompts.images)} rows and its cond_rows is {rows}; "
                "they must be equal"
            )
        if set(subprompts.images) != set(range(images)):
            raise ValueError(
                f"the host's subprompts.images is {subprompts.images}; every image from 0 to {images - 1} "
                "needs a row, and no other number may occur"
            )
        shares = tuple(subprompts.shares(image) for image in range(images))
        return cls(subprompts.images, shares, guided, base_calls)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"the host's {name} is {value}; it must be at least {least}")
