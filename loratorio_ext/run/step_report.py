"""One step of the report: small tensors on the device first, plain numbers when somebody reads it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from loratorio_ext.run.schedule import Mode
from loratorio_ext.run.schema import Described

# One number for each network and image; None where the network was not evaluated or not finite.
PerImage = tuple[tuple[float | None, ...], ...]
Names = tuple[str, ...]

# Bytes in 64-bit CPython: an empty tuple, an entry of it, a float, and the part of a step that does not
# depend on the number of networks and images.
_TUPLE, _PLACE, _FLOAT, _STEP = 56, 8, 24, 1000


@dataclass(frozen=True, eq=False)
class Observed:
    """What a step shows about its networks. Tensors may stay on the model's device; None: not known.

    Attributes:
        acting: bool [N, B], the networks that could have weight in the image.
        weight: mean weight over the patches, [N, B].
        similarity: mean similarity s over the patches, [N, B].
        finite: [N, B], False where a network's prediction was not finite in a row of the image.
        fallback: whether the base prediction was used in a row because no network was usable; one bool.
        maps: the weights Ω̂ for drawing, float16, [N, R, h', w'].
        evaluated: for each image, the networks that were evaluated; None: all.
    """

    acting: Tensor
    weight: Tensor | None = None
    similarity: Tensor | None = None
    finite: Tensor | None = None
    fallback: Tensor | None = None
    maps: Tensor | None = None
    evaluated: tuple[tuple[int, ...], ...] | None = None

    def similarities(self) -> PerImage | None:
        """Similarity by network and image; waits for the device, as do the methods below."""
        evaluated, finite = self.evaluated, self._flags(self.finite)
        return self._where(
            self.similarity,
            lambda network, image: (
                (evaluated is None or network in evaluated[image])
                and (finite is None or finite[network][image])
            ),
        )

    def weights(self) -> PerImage | None:
        """Weight by network and image; of one that did not act it is 0, evaluated or not."""
        return self._where(self.weight, lambda network, image: True)

    def chosen(self, names: Sequence[str]) -> tuple[Names, ...]:
        """For each image, the names of the networks that acted."""
        return tuple(
            tuple(name for name, acts in zip(names, image, strict=True) if acts)
            for image in self.acting.T.tolist()
        )

    def non_finite(self, names: Sequence[str]) -> tuple[Names, ...]:
        """For each image, the networks that were evaluated and whose predictions were not finite."""
        finite, every = self._flags(self.finite), range(len(names))
        return tuple(
            tuple(names[i] for i in evaluated if finite is not None and not finite[i][image])
            for image, evaluated in enumerate(self.evaluated or (every,) * self.acting.shape[1])
        )

    @staticmethod
    def _where(values: Tensor | None, known: Callable[[int, int], bool]) -> PerImage | None:
        """Numbers [N, B] from the device; None where they are not known or not finite."""
        if values is None:
            return None
        return tuple(
            tuple(
                value if math.isfinite(value) and known(network, image) else None
                for image, value in enumerate(of_network)
            )
            for network, of_network in enumerate(values.tolist())
        )

    @staticmethod
    def _flags(flags: Tensor | None) -> list[list[bool]] | None:
        return None if flags is None else flags.tolist()


@dataclass(frozen=True, eq=False)
class StepReport:
    """What one evaluation of the model did; networks are the composed ones, in their order.

    Fields of the JSON form carry their own descriptions. The others:

    Attributes:
        maps: the weights Ω̂ as a picture, float16 on the CPU, [N, R, h, w], h and w at most 64 (area average);
            None when nothing was composed.
        image_of: the image of each of the R rows of ``maps``.
    """

    index: Annotated[int, Described("number of the evaluation of the model, from 0", minimum=0)]
    sigma: Annotated[float | None, Described("noise level or timestep as the host counts it")]
    mode: Annotated[Mode, Described("what was done")]
    scan: Annotated[bool, Described("whether all networks were evaluated to be compared")]
    reused: Annotated[
        bool,
        Described(
            "whether no network was evaluated, and what each had last added was added again; similarity and "
            "weight are then those of what was added"
        ),
    ]
    rows: Annotated[
        int, Described("rows through the model, including those that the host predicts itself", minimum=0)
    ]
    plain_rows: Annotated[int, Described("rows that a plain generation would have evaluated", minimum=0)]
    calls: Annotated[int, Described("model calls, including those that the host makes itself", minimum=0)]
    seconds: Annotated[float, Described("time of the evaluation", minimum=0)]
    similarity: Annotated[
        PerImage | None,
        Described(
            "mean cosine to the base over the patches, for each composed network and image; null where the "
            "network was not evaluated or not finite, or when nothing was compared"
        ),
    ]
    weight: Annotated[
        PerImage | None,
        Described(
            "mean weight over the patches, for each composed network and image, from 0 to 1; null for base "
            "and merged"
        ),
    ]
    chosen: Annotated[
        tuple[Names, ...], Described("for each image, the names of the networks that acted on it")
    ]
    non_finite: Annotated[
        Names, Described("names of networks whose prediction contained NaN or infinity in some image")
    ]
    non_finite_in: Annotated[tuple[Names, ...], Described("the same for each image")]
    finite: Annotated[
        bool, Described("whether the prediction that the sampler got contained neither NaN nor infinity")
    ]
    fallback: Annotated[bool, Described("whether the base prediction was used where no network was usable")]
    halvings: Annotated[
        tuple[int, ...],
        Described("the new limit of rows per call, for each time that memory ran out", minimum=1),
    ]
    maps: Tensor | None
    image_of: tuple[int, ...]

    @classmethod
    def of(cls, observed: Observed, names: Sequence[str], **figures: Any) -> StepReport:
        """A step in plain numbers; waits for the device.

        Args:
            observed: what the step showed.
            names: of the composed networks.
            figures: the fields that are known without it.
        """
        non_finite = observed.non_finite(names)
        return cls(
            similarity=observed.similarities(),
            weight=observed.weights(),
            chosen=observed.chosen(names),
            non_finite=tuple(dict.fromkeys(name for name in names if any(name in one for one in non_finite))),
            non_finite_in=non_finite,
            fallback=observed.fallback is not None and bool(observed.fallback),
            maps=None if observed.maps is None else observed.maps.cpu(),
            **figures,
        )

    def maps_of(self, image: int) -> Tensor | None:
        """The maps of one image, float32 [N, h, w]; the mean over its AND sub-prompts."""
        rows = [row for row, one in enumerate(self.image_of) if one == image]
        return None if self.maps is None or not rows else self.maps[:, rows].float().mean(dim=1)

    @property
    def size(self) -> int:
        """Approximate bytes of memory that the step takes; the names in it belong to the report."""
        numbers = sum(map(_size_of_numbers, (self.similarity, self.weight)))
        names = sum(_TUPLE + _PLACE * len(found) for found in (*self.chosen, *self.non_finite_in))
        maps = 0 if self.maps is None else self.maps.numel() * self.maps.element_size()
        return _STEP + numbers + names + maps


def _size_of_numbers(values: PerImage | None) -> int:
    """Bytes of one number for each network and image."""
    if not values:
        return 0
    return len(values) * (_PLACE + _TUPLE + len(values[0]) * (_PLACE + _FLOAT))


def cuda_mark(device: torch.device | None) -> torch.cuda.Event | None:
    """An event in the current stream of ``device`` (None: the current one); None where CUDA is not in use."""
    if not torch.cuda.is_initialized() or (device is not None and device.type != "cuda"):
        return None
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


class Stopwatch:
    """Times a step without making the host wait for the device; starts when it is created.

    A CUDA device works asynchronously, so the time is taken between two events in its stream, and read later.
    Elsewhere the host's clock is used. A step during which CUDA starts up is timed by the clock, and so is
    one that turns out to run on a CUDA device other than ``device``.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        device: torch.device | None = None,
        mark: Callable[[torch.device | None], torch.cuda.Event | None] = cuda_mark,
    ) -> None:
        """``clock``: seconds of the host; ``device``: where the work will be done, None while unknown."""
        self._clock, self._mark = clock, mark
        self._began_event, self._began = mark(device), clock()

    def stop(self, device: torch.device) -> Callable[[], float]:
        """End the measurement of work on ``device``; the function returned gives the seconds when called."""
        seconds, began = self._clock() - self._began, self._began_event
        ended = self._mark(device) if began is not None and began.device == device else None
        if began is None or ended is None:
            return lambda: seconds

        def between() -> float:
            ended.synchronize()
            milliseconds: float = began.elapsed_time(ended)
            return milliseconds / 1000

        return between
