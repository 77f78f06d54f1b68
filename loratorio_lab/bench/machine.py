"""What the figures were measured on and with."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from loratorio_ext import __version__


def versions() -> dict[str, str]:
    """Of this project, Python, and the libraries at work; "none" for one that is not there."""
    return {
        "loratorio": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "diffusers": _version("diffusers"),
        "peft": _version("peft"),
    }


def machine(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Processor, cores, threads, load, device, dtype, and the date (UTC)."""
    cuda = device.type == "cuda"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "device": torch.cuda.get_device_name(device) if cuda else str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _processor() -> str:
    """Linux's name for it is the fullest."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
