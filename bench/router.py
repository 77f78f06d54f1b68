"""What the row router costs: `python -m bench.router` (a table, and JSON with --json FILE).

Random UNets of diffusers with random networks. Measured, in interleaved rounds, as medians: the plain UNet on
the rows, the router with all networks' rows in one call, the router one network at a time, and merging each
network into the weights and out again around a call of its own rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from loratorio_ext.networks.convolution import padded_rank
from loratorio_ext.networks.delta import Delta, LowRank, delta_weight
from loratorio_ext.networks.router import Router

Layers = dict[str, tuple[Delta, ...]]


def build_unet(channels: Sequence[int], size: int) -> UNet2DConditionModel:
    """Stable Diffusion's shape, smaller: attention on all but the last resolution."""
    downs = ("CrossAttnDownBlock2D",) * (len(channels) - 1) + ("DownBlock2D",)
    ups = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (len(channels) - 1)
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=4,
        out_channels=4,
        block_out_channels=tuple(channels),
        down_block_types=downs,
        up_block_types=ups,
        layers_per_block=1,
        cross_attention_dim=64,
        attention_head_dim=8,
        norm_num_groups=8,
    ).eval()


def build_network(unet: nn.Module, rank: int, convolutions: bool) -> Layers:
    """LoRA on the attention blocks' linear layers and projections, or on all convolutions too (LoCon)."""
    layers: Layers = {}
    for name, module in unet.named_modules():
        inside = ".attentions." in name
        if isinstance(module, nn.Linear) and (inside or convolutions):
            down, up = torch.randn(rank, module.in_features), torch.randn(module.out_features, rank)
        elif isinstance(module, nn.Conv2d) and (inside or convolutions):
            down = torch.randn(rank, module.in_channels, *module.kernel_size)
            up = torch.randn(module.out_channels, rank, 1, 1)
        else:
            continue
        layers[name] = (LowRank(down / down[0].numel() ** 0.5, up / rank**0.5, scale=0.05),)
    return layers


def merge(unet: nn.Module, network: Layers, strength: float) -> None:
    """Add (or, with a negative strength, take out) the network's ΔW."""
    for name, deltas in network.items():
        module = unet.get_submodule(name)
        for delta in deltas:
            weight, _ = delta_weight(delta, module)
            if weight is not None:
                base = module.get_parameter("weight")
                base.add_(weight.to(base), alpha=strength)


def medians(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Median and quartiles of each case in milliseconds, cases taken in turn, after one round of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for index in range(rounds + 1):
        for name, case in cases.items():
            begin = time.perf_counter()
            case()
            if index:
                times[name].append((time.perf_counter() - begin) * 1e3)
    result = {}
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        result[name] = {"median_ms": middle, "quartile_low_ms": low, "quartile_high_ms": high}
    return result


def measure(
    channels: Sequence[int], size: int, ranks: Sequence[int], convolutions: bool, rows: int, rounds: int
) -> dict[str, object]:
    """One UNet and one set of networks; `rows` rows for each network and for the base."""
    torch.manual_seed(0)
    unet = build_unet(channels, size)
    networks = [build_network(unet, rank, convolutions) for rank in ranks]
    router = Router(dict(unet.named_modules()), networks)
    own = [[float(i == j) for j in range(len(ranks))] for i in range(len(ranks))]
    table = [[0.0] * len(ranks)] * rows + [row for row in own for _ in range(rows)]
    merged_table = [[1.0] * len(ranks)] * len(table)
    latents, text = torch.randn(len(table), 4, size, size), torch.randn(len(table), 16, 64)

    def call(count: int) -> Tensor:
        predicted: Tensor = unet(latents[:count], 10, text[:count]).sample
        return predicted

    def batched(strengths: Sequence[Sequence[float]]) -> None:
        with router.routing(strengths):
            call(len(strengths))

    def one_at_a_time() -> None:
        for index in range(len(ranks) + 1):
            batched(table[index * rows : (index + 1) * rows])

    def merge_in_and_out() -> None:
        call(rows)
        for network in networks:
            merge(unet, network, 1.0)
            call(rows)
            merge(unet, network, -1.0)

    cases: dict[str, Callable[[], object]] = {
        "plain": lambda: call(len(table)),
        "router": lambda: batched(table),
        "router_merged_rows": lambda: batched(merged_table),
        "router_one_at_a_time": one_at_a_time,
        "merge_in_and_out": merge_in_and_out,
    }
    with torch.inference_mode():
        times = medians(cases, rounds)
    plain = times["plain"]["median_ms"]
    return {
        "channels": list(channels),
        "size": size,
        "ranks": list(ranks),
        "layers": len(networks[0]),
        "convolutions": convolutions,
        "rows": len(table),
        "rounds": rounds,
        "times": times,
        "ratio_to_plain": {name: value["median_ms"] / plain for name, value in times.items()},
    }


def compare_convolutions(rounds: int) -> list[dict[str, object]]:
    """One grouped convolution for 4 networks × 2 rows against a loop over the networks, by rank."""
    return [
        _compare_convolution(channels, size, rank, rounds)
        for channels, size in ((32, 16), (64, 16), (96, 8), (256, 16))
        for rank in (8, 12, 16, 32)
    ]


def _compare_convolution(channels: int, size: int, rank: int, rounds: int) -> dict[str, object]:
    x, down = torch.randn(8, channels, size, size), torch.randn(4, rank, channels, 3, 3)
    rows = down.repeat_interleave(2, 0)
    exact = rows.flatten(0, 1)
    wide = functional.pad(rows, (0,) * 7 + (padded_rank(rank) - rank,)).flatten(0, 1)

    def grouped(kernels: Tensor) -> Tensor:
        return functional.conv2d(x.view(1, -1, size, size), kernels, padding=1, groups=8)

    def loop() -> Tensor:
        return torch.cat([functional.conv2d(x[2 * i : 2 * i + 2], down[i], padding=1) for i in range(4)])

    cases: dict[str, Callable[[], object]] = {
        "loop": loop,
        "grouped": lambda: grouped(exact),
        "grouped_padded": lambda: grouped(wide),
    }
    with torch.inference_mode():
        times = medians(cases, rounds)
    ratios = {
        f"loop_over_{name}": times["loop"]["median_ms"] / times[name]["median_ms"] for name in list(cases)[1:]
    }
    return {"channels": channels, "size": size, "rank": rank, **ratios}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds, at least 2 (default 7)")
    parser.add_argument("--rows", type=int, default=2, help="rows for each network and the base (default 2)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument("--small-only", action="store_true", help="leave out the larger UNet")
    parser.add_argument("--convolutions", action="store_true", help="compare ways to convolve, nothing else")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    if options.rounds < 2 or options.rows < 1 or options.threads < 1:
        parser.error("--rounds must be at least 2, --rows and --threads at least 1")
    torch.set_num_threads(options.threads)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": "cpu",
    }
    results: list[dict[str, object]] = []
    if options.convolutions:
        results = compare_convolutions(options.rounds)
        for found in results:
            sys.stdout.write(f"{found}\n")
    else:
        sizes = [((32, 64, 96), 16)] if options.small_only else [((32, 64, 96), 16), ((128, 256, 512), 32)]
        for channels, size in sizes:
            for convolutions in (False, True):
                found = measure(channels, size, (8, 16, 8, 12), convolutions, options.rows, options.rounds)
                results.append(found)
                sys.stdout.write(_table(found))
    document = {"machine": machine, "results": results}
    sys.stdout.write(json.dumps(machine) + "\n")
    if options.json is not None:
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def _table(found: dict[str, object]) -> str:
    kind = "linear and convolutions" if found["convolutions"] else "attention blocks"
    lines = [
        f"UNet {found['channels']} at {found['size']}: {found['layers']} layers ({kind}), "
        f"ranks {found['ranks']}, "
        f"{found['rows']} rows"
    ]
    times, ratios = found["times"], found["ratio_to_plain"]
    assert isinstance(times, dict) and isinstance(ratios, dict)
    for name, value in times.items():
        lines.append(f"  {name:22} {value['median_ms']:9.1f} ms   {ratios[name]:6.3f} × plain")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
