"""Memory: what a measurement will need, what there is, and what one way takes at its peak."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

from loratorio_lab.bench.networks import Layers, factors_size, touched
from loratorio_lab.bench.shapes import Shape, build_unet

# Activations that are alive at once, in multiples of a latent of the first block's channels.
# Measured at the shape of Stable Diffusion 1.5: about 30.
_ACTIVATIONS: Final = 40
# Copies of the networks' factors: ours, the router's for several tables, and two of peft's.
_COPIES: Final = 6


def needed_bytes(
    shape: Shape,
    latent: int,
    rows: int,
    networks: int,
    rank: int,
    layers: Layers,
    dtype: torch.dtype,
    *,
    copies: int,
) -> int:
    """Estimate for all ways together: weights, their ``copies`` for merging, networks, and activations."""
    unet = build_unet(shape, torch.device("meta"), dtype)
    weights = sum(weight.numel() for weight in unet.parameters())
    chosen = [module for _, module in touched(unet, layers)]
    backup = copies * sum(module.weight.numel() for module in chosen)
    factors = networks * sum(factors_size(module, rank) for module in chosen)
    activations = _ACTIVATIONS * rows * shape.config["block_out_channels"][0] * latent**2
    numbers: int = weights + backup + _COPIES * factors + activations
    return numbers * dtype.itemsize


def available_bytes(device: torch.device) -> int | None:
    """Memory that this process may still take on the device; None where that cannot be known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    known = [value for value in (_free_on_machine(), _free_in_group()) if value is not None]
    return min(known, default=None)


def _free_on_machine() -> int | None:
    lines = _lines("/proc/meminfo")
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None


def _free_in_group() -> int | None:
    """What a container's limit leaves; None without a limit."""
    limit, used = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if not limit or not used or not limit[0].isdigit():
        return None
    return int(limit[0]) - int(used[0])


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []


def peak_bytes(work: Callable[[], object], device: torch.device) -> int | None:
    """Memory that `work` takes at its peak, beyond what is held before it; None where it cannot be measured.

    On CUDA by torch's own count. On a CPU by Linux's count of resident memory, whose peak is set back before;
    that holds what the C library keeps for later too, so it is a rough figure.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - before
    if device.type != "cpu" or not _reset_peak():
        work()
        return None
    before = _resident("VmRSS:")
    work()
    return max(0, _resident("VmHWM:") - before)


def _reset_peak() -> bool:
    """Linux alone knows this (proc_pid_clear_refs(5))."""
    path = Path("/proc/self/clear_refs")
    if not os.access(path, os.W_OK):
        return False
    try:
        path.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _resident(name: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in _lines("/proc/self/status") if line.startswith(name))
