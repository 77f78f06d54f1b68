"""What a whole measurement consists of, and what of it fits into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, product
from typing import Any

import torch

from loratorio_lab.bench.measure import Measured, What, measure
from loratorio_lab.bench.memory import available_bytes, needed_bytes
from loratorio_lab.bench.networks import Layers, random_networks
from loratorio_lab.bench.shapes import SHAPES, build_unet, random_rows
from loratorio_lab.bench.timing import OnRound
from loratorio_lab.bench.ways import OURS, PLAIN, WAYS, Setup


@dataclass(frozen=True)
class Part:
    """One measurement.

    Attributes:
        size: key of `SHAPES`.
        latent: side of the latent in its own pixels.
        networks: how many.
        rank: of every network.
        layers: which layers they touch.
        pictures: pictures in a batch; every source has two rows for each.
    """

    size: str
    latent: int
    networks: int
    rank: int
    layers: Layers
    pictures: int

    def title(self) -> str:
        """For the table."""
        usual = SHAPES[self.size].latent
        smaller = "" if self.latent == usual else f" (the model's own is {usual})"
        count = "1 network" if self.networks == 1 else f"{self.networks} networks"
        kind = "attention blocks" if self.layers == "linear" else "every linear layer and convolution"
        pictures = "1 picture" if self.pictures == 1 else f"{self.pictures} pictures"
        return (
            f"{self.size}, latent {self.latent}{smaller}: {count} of rank {self.rank} on {kind}, {pictures}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def does_not_fit(self, device: torch.device, dtype: torch.dtype, *, copies: int) -> str | None:
        """Why the memory does not suffice; None: it does, as far as that is known.

        copies: of the weights that networks touch, as ways and steps that merge take them.
        """
        rows = 2 * self.pictures * (1 + self.networks)
        shape = SHAPES[self.size]
        needed = needed_bytes(
            shape, self.latent, rows, self.networks, self.rank, self.layers, dtype, copies=copies
        )
        available = available_bytes(device)
        if available is None or needed <= 0.9 * available:
            return None
        return (
            f"{self.title()}: it needs about {needed / 1e9:.1f} GB of memory on {device} and "
            f"{available / 1e9:.1f} GB are there; fewer --networks, --ways or --steps, a smaller --latent or "
            "--rank need less"
        )


def parts(
    sizes: Sequence[str],
    latent: int | None,
    networks: Sequence[int],
    ranks: Sequence[int],
    layers: Layers,
    pictures: int,
) -> list[Part]:
    """Every combination, each once; those of one size together.

    Raises:
        ValueError: the latent's side does not suit a size.
    """
    found = []
    for size, rank, count in product(dict.fromkeys(sizes), sorted(set(ranks)), sorted(set(networks))):
        shape = SHAPES[size]
        side = latent or shape.latent
        if side % shape.step or side < 8:
            raise ValueError(
                f"--latent {side} does not suit {size}: give a multiple of {shape.step}, at least 8"
            )
        found.append(Part(size, side, count, rank, layers, pictures))
    return found


def measure_all(
    wanted: Sequence[Part],
    device: torch.device,
    dtype: torch.dtype,
    rounds: int,
    what: What,
    ways: Sequence[str],
    steps: Sequence[str],
    on_round: OnRound,
) -> Iterator[tuple[Part, Measured]]:
    """Each part when it is done; a UNet is made once for the neighbouring parts of its size.

    ways: names of those beside "plain" and "router". steps: of those beside the plain one.
    """
    builders = {name: build for name, build in WAYS.items() if name in (PLAIN, OURS, *ways)}

    def of_size(size: str, group: Sequence[Part]) -> Iterator[tuple[Part, Measured]]:
        # A function of its own, so that the memory is free again before the next size needs it.
        shape = SHAPES[size]
        unet = build_unet(shape, device, dtype)
        for part in group:
            networks = random_networks(unet, part.networks, part.rank, part.layers)
            rows = random_rows(shape, part.latent, part.pictures, device, dtype)
            setup = Setup.of(unet, networks, rows)
            yield part, measure(setup, rounds, on_round, what=what, builders=builders, steps=steps)

    for size, group in groupby(wanted, key=lambda part: part.size):
        yield from of_size(size, list(group))
