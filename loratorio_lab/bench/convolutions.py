"""Which way of convolving suits the networks: `python -m loratorio_lab.bench.convolutions`.

Four networks' kernels, each on its own two rows: one grouped convolution, the same with the rank padded to a
width that is fast, and a loop over the networks. `networks/router/low_rank.py` chooses by these figures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from loratorio_ext.networks.router.low_rank import padded_rank
from loratorio_lab.bench.timing import quartiles, ratios, take_turns

CASES = tuple(
    (channels, size, rank)
    for channels, size in ((32, 16), (64, 16), (96, 8), (256, 16))
    for rank in (8, 12, 16, 32)
)


def compare(channels: int, size: int, rank: int, rounds: int) -> dict[str, float]:
    """Medians: milliseconds of the loop, and how many times as long it takes as each of the others."""
    x, down = torch.randn(8, channels, size, size), torch.randn(4, rank, channels, 3, 3)
    rows = down.repeat_interleave(2, 0)
    exact = rows.flatten(0, 1)
    wide = functional.pad(rows, (0,) * 7 + (padded_rank(rank) - rank,)).flatten(0, 1)

    def grouped(kernels: Tensor) -> Tensor:
        return functional.conv2d(x.view(1, -1, size, size), kernels, padding=1, groups=8)

    def loop() -> Tensor:
        return torch.cat([functional.conv2d(x[2 * i : 2 * i + 2], down[i], padding=1) for i in range(4)])

    ways: dict[str, Callable[[], object]] = {
        "loop": loop,
        "grouped": lambda: grouped(exact),
        "grouped, padded": lambda: grouped(wide),
    }
    with torch.inference_mode():
        times = take_turns(ways, rounds, torch.device("cpu"), lambda: None, warm=False)
    loops = times["loop"].processor
    found = {name: ratios(loops, times[name].processor)[1] for name in ways if name != "loop"}
    return {"loop ms": quartiles(loops)[1] * 1e3, **found}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure with one thread and print a line for each case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds, at least 2 (default 7)")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error("--rounds must be at least 2")
    torch.set_num_threads(1)
    for channels, size, rank in CASES:
        found = compare(channels, size, rank, options.rounds)
        figures = ", ".join(f"{name} {value:.3g}" for name, value in found.items())
        sys.stdout.write(f"{channels} channels at {size} x {size}, rank {rank}: {figures}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
