"""One step of the report: first as tensors on the device, later as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import SupportsFloat

from torch import Tensor

from loratorio_ext.run.schedule import Mode
from loratorio_ext.run.strategies import Observed

# One number for each network and image; None where the network was not evaluated or not finite.
PerImage = tuple[tuple[float | None, ...], ...]

# Bytes in CPython on 64 bits: a tuple without its places, a place in it, a number, and a step with all that
# is the same for every number of networks and images.
_TUPLE, _PLACE, _FLOAT, _STEP = 56, 8, 24, 1000


@dataclass(frozen=True)
class StepReport:
    """What one evaluation of the model did; networks are the composed ones, in their order.

    Attributes:
        index: number of the evaluation, from 0.
        sigma: noise level or timestep as the host counts it.
        mode: "composed", "base", "merged", "switch" or "composite".
        scan: whether all networks were evaluated to be compared.
        reused: whether no network was evaluated, and what each had added last was added again; similarity and
            weight are then those of that.
        rows: rows that went through the model, those that the host predicts itself included.
        plain_rows: rows that a plain generation would have evaluated.
        calls: model calls likewise.
        seconds: time of the evaluation.
        similarity: mean of s over the patches, for each network and image; None when nothing was compared.
        weight: mean of the weights Ω̂ likewise, 0 … 1; None for "base" and "merged".
        chosen: for each image the names of the networks that acted on it.
        non_finite: names of networks whose predictions held NaN or infinity in some image.
        non_finite_in: the same for each image.
        finite: whether the prediction that the sampler got held neither NaN nor infinity.
        fallback: whether some row had no usable network, so that the base prediction was used.
        halvings: new largest numbers of rows a call, each time memory did not suffice.
        maps: the weights Ω̂ as a picture, float16 on the CPU, [N, R, h, w], h and w at most 64 (area average);
            None when nothing was composed.
        image_of: the image of each of the R rows of ``maps``.
    """

    index: int
    sigma: float
    mode: Mode
    scan: bool
    reused: bool
    rows: int
    plain_rows: int
    calls: int
    seconds: float
    similarity: PerImage | None
    weight: PerImage | None
    chosen: tuple[tuple[str, ...], ...]
    non_finite: tuple[str, ...]
    non_finite_in: tuple[tuple[str, ...], ...]
    finite: bool
    fallback: bool
    halvings: tuple[int, ...]
    maps: Tensor | None
    image_of: tuple[int, ...]

    def maps_of(self, image: int) -> Tensor | None:
        """The maps of one image, float32 [N, h, w]; the mean over its AND sub-prompts."""
        rows = [row for row, one in enumerate(self.image_of) if one == image]
        return None if self.maps is None or not rows else self.maps[:, rows].float().mean(dim=1)

    @property
    def size(self) -> int:
        """Bytes of memory that the step takes, about; the names in it belong to the report."""
        numbers = sum(map(_size_of_numbers, (self.similarity, self.weight)))
        names = sum(_TUPLE + _PLACE * len(found) for found in (*self.chosen, *self.non_finite_in))
        maps = 0 if self.maps is None else self.maps.numel() * self.maps.element_size()
        return _STEP + numbers + names + maps

    def to_dict(self) -> dict[str, object]:
        """The step for JSON, without the maps."""
        return {
            "index": self.index,
            "sigma": _number(self.sigma),
            "mode": self.mode,
            "scan": self.scan,
            "reused": self.reused,
            "rows": self.rows,
            "plain_rows": self.plain_rows,
            "calls": self.calls,
            "seconds": self.seconds,
            "similarity": _lists(self.similarity),
            "weight": _lists(self.weight),
            "chosen": [list(names) for names in self.chosen],
            "non_finite": list(self.non_finite),
            "non_finite_in": [list(names) for names in self.non_finite_in],
            "finite": self.finite,
            "fallback": self.fallback,
            "halvings": list(self.halvings),
        }


@dataclass(frozen=True)
class StepCounts:
    """What the host side knows about a step without asking the device; as in ``StepReport``."""

    index: int
    sigma: SupportsFloat
    mode: Mode
    scan: bool
    reused: bool
    rows: int
    plain_rows: int
    calls: int
    halvings: tuple[int, ...]
    images: int
    image_of: tuple[int, ...]
    seconds: Callable[[], float]
    switched_to: int = 0


class StepRecord:
    """A step that becomes a ``StepReport`` when somebody reads it; only then the device is waited for."""

    def __init__(
        self, counts: StepCounts, names: tuple[str, ...], finite: Tensor, observed: Observed | None
    ) -> None:
        """Keep the small tensors of a step; ``names``: the composed networks; ``finite``: one bool."""
        self._state: _Unread | StepReport = _Unread(counts, names, finite, observed)

    @property
    def settled(self) -> StepReport:
        """The step in plain numbers; all that was kept on the device is let go, for reports live long."""
        state = self._state
        if isinstance(state, _Unread):
            state = self._state = state.settle()
        return state


@dataclass(frozen=True)
class _Unread:
    """What a step left on the device; see ``StepRecord``."""

    counts: StepCounts
    names: tuple[str, ...]
    finite: Tensor
    observed: Observed | None

    def settle(self) -> StepReport:
        """Wait for the device."""
        counts, names, observed = self.counts, self.names, self.observed
        similarity, weight, fallback = None, self._known_weight(), False
        non_finite_in: tuple[tuple[str, ...], ...] = ((),) * counts.images
        acting = self._known_acting()
        if observed is not None:
            finite = observed.finite.tolist()
            evaluated = observed.evaluated or (tuple(range(len(names))),) * counts.images
            similarity = _where_evaluated(observed.similarity, evaluated, finite)
            weight = _where_evaluated(observed.weight, evaluated)
            non_finite_in = tuple(
                tuple(names[i] for i in networks if not finite[i][image])
                for image, networks in enumerate(evaluated)
            )
            fallback = bool(observed.fallback.any())
            acting = observed.acting.T.tolist()
        return StepReport(
            index=counts.index,
            sigma=float(counts.sigma),
            mode=counts.mode,
            scan=counts.scan,
            reused=counts.reused,
            rows=counts.rows,
            plain_rows=counts.plain_rows,
            calls=counts.calls,
            seconds=counts.seconds(),
            similarity=similarity,
            weight=weight,
            chosen=tuple(
                tuple(name for name, acts in zip(names, image, strict=True) if acts) for image in acting
            ),
            non_finite=tuple(
                name for name in dict.fromkeys(names) if any(name in image for image in non_finite_in)
            ),
            non_finite_in=non_finite_in,
            finite=bool(self.finite),
            fallback=fallback,
            halvings=counts.halvings,
            maps=None if observed is None else observed.maps.cpu(),
            image_of=counts.image_of,
        )

    def _known_acting(self) -> list[list[bool]]:
        mode, count = self.counts.mode, len(self.names)
        alone = self.counts.switched_to
        image = [mode != "base" and (mode != "switch" or i == alone) for i in range(count)]
        return [image] * self.counts.images

    def _known_weight(self) -> PerImage | None:
        mode, count, images = self.counts.mode, len(self.names), self.counts.images
        if mode == "switch":
            return tuple((float(i == self.counts.switched_to),) * images for i in range(count))
        return ((1 / count,) * images,) * count if mode == "composite" else None


def _where_evaluated(
    values: Tensor, evaluated: tuple[tuple[int, ...], ...], finite: list[list[bool]] | None = None
) -> PerImage:
    """Numbers [N, B] of the device; None for what was not evaluated and where ``finite`` says no."""
    return tuple(
        tuple(
            _number(value) if i in evaluated[image] and (finite is None or finite[i][image]) else None
            for image, value in enumerate(images)
        )
        for i, images in enumerate(values.tolist())
    )


def _size_of_numbers(values: PerImage | None) -> int:
    """Bytes of one number for each network and image."""
    if not values:
        return 0
    return len(values) * (_PLACE + _TUPLE + len(values[0]) * (_PLACE + _FLOAT))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _lists(values: PerImage | None) -> list[list[float | None]] | None:
    return None if values is None else [list(images) for images in values]
