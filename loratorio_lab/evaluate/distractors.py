"""A pool of any size: the world's networks, filled up with networks that nobody asks for."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request
from loratorio_ext.settings import Settings
from loratorio_lab.world.concepts import CONCEPTS, caption, random_scene

_SCENES: Final = 4
_STEPS: Final = 6
_DISTRACTOR: Final = "other-{:02d}"


def build_pool(folder: Path, size: int, networks: Path, host: DiffusersHost, seed: int) -> None:
    """Make a folder with ``size`` networks; one that is there already is left as it is.

    A distractor is a mixture: its layers' down matrices from one network and the up matrices from another,
    ranks shuffled. So it has the layers and the spectra of a real network, and means nothing. It is made as
    loud as a real network is when its trigger word is missing: its alpha is set so that its mean divergence
    on scenes without any trigger is the mean of the real networks'.

    Args:
        folder: made if it is missing.
        size: networks in all, at least the number of concepts.
        networks: folder of the world's networks, one for each concept.
        host: draws, to measure how loud networks are.
        seed: of the mixtures.

    Raises:
        ValueError: ``size`` is smaller than the number of concepts.
    """
    if size < len(CONCEPTS):
        raise ValueError(f"a pool of {size}; give at least {len(CONCEPTS)}, the number of concepts")
    if folder.exists():
        return
    unfinished = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for concept in CONCEPTS:
        shutil.copyfile(networks / f"{concept}.safetensors", unfinished / f"{concept}.safetensors")
    names = [_DISTRACTOR.format(number) for number in range(1, size - len(CONCEPTS) + 1)]
    if names:
        parts = [load_file(networks / f"{concept}.safetensors") for concept in CONCEPTS]
        random = np.random.default_rng(seed)
        mixtures = {name: _mixture(parts, random) for name in names}
        for name, tensors in mixtures.items():
            save_file(tensors, unfinished / f"{name}.safetensors")
        loud = loudness(host, unfinished, seed)
        wanted = float(np.mean([loud[concept] for concept in CONCEPTS]))
        for name, tensors in mixtures.items():
            # A small divergence grows with the square of the strength.
            factor = (wanted / max(loud[name], 1e-12)) ** 0.5
            scaled = {
                key: value * factor if key.endswith("alpha") else value for key, value in tensors.items()
            }
            save_file(scaled, unfinished / f"{name}.safetensors")
    unfinished.rename(folder)


def loudness(host: DiffusersHost, folder: Path, seed: int) -> dict[str, float]:
    """Mean divergence 1 − s of each network of a folder, over the steps of scenes that name no concept."""
    random = np.random.default_rng(seed)
    scenes = [random_scene(random) for _ in range(_SCENES)]
    drawn: Any = host.generate(
        Request(
            prompts=[caption(scene) for scene in scenes],
            seeds=list(range(_SCENES)),
            steps=_STEPS,
            cfg=4.0,
            settings=Settings(enabled=True, recenter=1.0, pool="*", looks=0, pool_by="difference"),
            network_dir=folder,
        )
    )
    report = drawn.report
    found: dict[str, list[float]] = {name: [] for name in report.composed}
    for step in report.steps:
        for name, images in zip(report.composed, step.similarity, strict=True):
            found[name] += [1.0 - value for value in images if value is not None]
    return {name: float(np.mean(values)) for name, values in found.items()}


def _mixture(parts: Sequence[dict[str, Tensor]], random: np.random.Generator) -> dict[str, Tensor]:
    first, second = random.choice(len(parts), 2, replace=False)
    downs, ups = parts[first], parts[second]
    mixed: dict[str, Tensor] = {}
    for key, down in downs.items():
        if not key.endswith("lora_down.weight"):
            continue
        stem = key.removesuffix("lora_down.weight")
        order = torch.from_numpy(random.permutation(down.shape[0]))
        mixed[key] = down[order].contiguous()
        mixed[f"{stem}lora_up.weight"] = ups[f"{stem}lora_up.weight"]
        mixed[f"{stem}alpha"] = downs[f"{stem}alpha"]
    return mixed
