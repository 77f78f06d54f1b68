"""What a host hands over for one evaluation of the model, the rows it is asked for, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, Protocol, SupportsFloat

from torch import Tensor

from loratorio_ext.method import RowMap
from loratorio_ext.networks.arguments import Area, OwnArguments, Window
from loratorio_ext.networks.router import Places
from loratorio_ext.run.schema import Described

if TYPE_CHECKING:
    from loratorio_ext.run.reuse import FrozenComposition

# An int is the index of a network among the composed ones (in the order of the tags, without kept networks).
# "base": none of the composed networks. "merged": all of them at once, the usual way. "placed": all of them
# at once, each at its own places.
Source = int | Literal["base", "merged", "placed"]
Branch = Literal["cond", "uncond"]
BRANCHES: Final[tuple[Branch, Branch]] = ("cond", "uncond")

RowStrengths = tuple[float, ...]
"""What the router takes for one row: the strength of each network, in the order of the generation's."""


@dataclass(frozen=True)
class Row:
    """One row of a model call.

    Attributes:
        source: which of the composed networks act in the row. Networks that are kept merged act in every row.
        branch: the conditional or the unconditional prediction.
        index: the conditional row r for "cond", the image b for "uncond".
    """

    source: Source
    branch: Branch
    index: int


@dataclass(frozen=True)
class NetworkUse:
    """A network as one generation uses it.

    Attributes:
        name: the name for the report; need not be unique.
        strength: the UNet strength: any finite number, 0 included.
        compose: False keeps the network merged in every row (acceleration networks, sliders); it then acts
            everywhere.
        at: where a composed network may speak, as `Area.parse` reads it; "": everywhere.
        steps: at which of the steps it acts, as `Window.parse` reads it; "": at all.
        fade: how its strength changes over these steps; "": it does not.
        cond: False keeps it out of conditional rows; then it is not composed.
        uncond: whether it acts in every unconditional row, at its strength; None: as ``compose`` and ``cond``
            say: a composed one in its own and where networks act at once, others in all.
    """

    name: Annotated[str, Described("name in the prompt's tag")]
    strength: Annotated[float, Described("UNet strength")]
    compose: Annotated[bool, Described("false: kept merged in every row")] = True
    at: Annotated[
        str, Described("part of the picture where it may speak, as in the tag; empty: everywhere")
    ] = ""
    steps: Annotated[str, Described("part of the steps at which it acts, as in the tag; empty: all")] = ""
    fade: Annotated[str, Described("how its strength changes over these steps, as in the tag")] = ""
    cond: Annotated[bool, Described("false: not in conditional predictions")] = True
    uncond: Annotated[bool | None, Described("whether in all unconditional predictions; null: not said")] = (
        None
    )

    @classmethod
    def of(cls, name: str, strength: float, own: OwnArguments) -> NetworkUse:
        """As a tag says it."""
        return cls(name, strength, own.composed, own.at, own.steps, own.fade, own.cond, own.uncond)

    def acts(self, branch: Branch) -> bool | None:
        """Whether it acts in all rows of this branch, or in none; None: that depends on their source."""
        if branch == "cond":
            return False if not self.cond else None if self.compose else True
        if self.uncond is None:
            return None if self.compose else True
        return self.uncond

    @property
    def area(self) -> Area | None:
        """Where it may speak; None: everywhere. ValueError for a text that says nothing."""
        area = Area.parse(self.at) if self.at else Area()
        return None if area == Area() else area

    @property
    def window(self) -> Window:
        """At which steps it acts. ValueError for texts that say nothing."""
        return Window.parse(self.steps, self.fade)


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
    def rows(self) -> RowMap:
        """The image and the AND weight of each conditional row."""

    @property
    def guided(self) -> bool:
        """Whether an unconditional prediction is wanted."""

    @property
    def given(self) -> GivenBase | None:
        """The base's predictions where the host has already made them; None: they are predicted too."""

    @property
    def noise_scale(self) -> float | Tensor:
        """|∂ε/∂e|: predicted noise per unit of prediction at this noise level; above 0.

        A tensor of one element on the model's device is fine. A factor common to all evaluations does not
        matter.
        """

    def predict(
        self, rows: Sequence[Row], strengths: Sequence[RowStrengths], places: Places | None
    ) -> tuple[Tensor, int]:
        """Evaluate these rows together, each with its networks at its strengths, and where they are placed.

        `Routes.text_of` says which texts they have.

        Returns:
            (predictions [len(rows), C, H, W] in the order of the rows, model calls that they took). One call,
            unless the host itself splits the rows into several.

        Raises:
            UnplacedError: the host does not know where the networks' places are.
        """

    def call_group(self, row: Row) -> Hashable:
        """Rows with different groups never share a call (texts of different length, for example)."""

    def compare_as(self, space: Literal["noise", "denoised"]) -> Callable[[Tensor], Tensor] | None:
        """Map conditional predictions [..., R, C, H, W] into the space of the cosine; None: as they are."""

    def release(self) -> None:
        """Drop what was prepared for calls so far; called when memory is short, before smaller calls."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the host combines by its own guidance, in the space of ``Evaluation.predict``.

    Attributes:
        cond: [R, C, H, W].
        uncond: [B, C, H, W]; None without guidance.
        frozen: how it was made, for extensions that call the model again; None for a method that exists only
            for comparison.
    """

    cond: Tensor
    uncond: Tensor | None
    frozen: FrozenComposition | None = None


@dataclass(frozen=True, eq=False)
class GivenBase:
    """The base's predictions, which a host has made before it asks for a step.

    Attributes:
        cond: for all conditional rows, [R, C, H, W].
        uncond: for all images, [B, C, H, W]; not read without guidance.
        calls: model calls that they took, at least 1.
        is_placed: they are those of ``Run.placed_rows`` instead.
    """

    cond: Tensor
    uncond: Tensor
    calls: int
    is_placed: bool = False
