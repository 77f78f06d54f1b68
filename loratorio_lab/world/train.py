"""Makes the whole embedded world: judge, latent space, base model, networks, scores, model card."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from diffusers import AutoencoderTiny

from loratorio_ext.cli.judge import Judge
from loratorio_lab.world.autoencoder import encode, train_autoencoder
from loratorio_lab.world.card import write_card
from loratorio_lab.world.concepts import CONCEPTS
from loratorio_lab.world.dataset import base_pictures, judge_pictures, narrow_pictures
from loratorio_lab.world.diffusion import Examples, train_base
from loratorio_lab.world.gate import measure
from loratorio_lab.world.judge import accuracy, save_judge, train_judge
from loratorio_lab.world.model import (
    assemble,
    load_model,
    new_text_encoder,
    new_tokenizer,
    new_unet,
    save_model,
)
from loratorio_lab.world.network_training import add_network, read_figures, save_network, train_network
from loratorio_lab.world.workers import Report, Workers


@dataclass(frozen=True)
class Recipe:
    """How much of everything. Counts are pictures or optimizer steps; ``gate_steps`` are sampling steps."""

    judge_pictures: int = 12_000
    judge_epochs: int = 6
    autoencoder_pictures: int = 10_000
    autoencoder_steps: int = 1_300
    base_pictures: int = 20_000
    base_steps: int = 4_000
    base_batch: int = 32
    own_pictures: int = 400
    common_pictures: int = 3_000
    network_steps: int = 350
    network_batch: int = 24
    network_rounds: int = 6
    learning_rate: float = 8e-3
    gate_pictures: int = 64
    gate_steps: int = 15
    judged_pictures: int = 2_000


HINT: Mapping[str, float] = MappingProxyType(
    {"texture": 0.25, "shape": 0.25, "background": 0.08, "object": 0.2}  # the harder to draw, the more
)
"""In how many captions with a trigger word the base model is shown the concept: enough for a weak idea."""

UNNAMED: Mapping[str, float] = MappingProxyType(
    {"texture": 0.18, "shape": 0.18, "background": 0.05, "object": 0.09}  # the harder to draw, the more
)
"""In how many of its pictures the base model sees concepts that are not named."""

QUICK = Recipe(
    judge_pictures=64,
    judge_epochs=1,
    autoencoder_pictures=32,
    autoencoder_steps=2,
    base_pictures=32,
    base_steps=2,
    base_batch=8,
    own_pictures=16,
    common_pictures=16,
    network_steps=2,
    network_batch=4,
    network_rounds=1,
    gate_pictures=1,
    gate_steps=2,
    judged_pictures=16,
)
"""Seconds instead of an hour: tries every stage, draws nothing worth looking at."""


def train(out: Path, *, seed: int, workers: int, quick: bool, report: Report) -> dict[str, Any]:
    """Train everything and write it to ``out``.

    Written are ``model/``, ``networks/``, ``judge.safetensors``, ``scores.json`` and ``README.md``. A stage
    whose files are there already is not done again. A network that does not pass its gate is left out, and
    its figures say so.

    Args:
        out: the folder; made if it is missing.
        seed: of every random choice. Another machine rounds otherwise, so its world is alike, not equal.
        workers: processes that train side by side, one thread each; at least 1.
        quick: a few steps of each stage, to see that they run.
        report: is given a line of progress now and then.

    Returns:
        the scores, as written to ``scores.json``.

    Raises:
        ValueError: ``workers`` or ``seed`` out of range, or ``out`` holds a world of another seed or recipe.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; give 1 or more (2 suits a machine with two cores)")
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed is {seed}; give a whole number from 0 to {2**31 - 1}")
    recipe = QUICK if quick else Recipe()
    asked = {"seed": seed, "recipe": "quick" if quick else "full"}
    _check_same_world(out, asked)
    (out / _WORK).mkdir(parents=True, exist_ok=True)
    (out / _WORK / "asked.json").write_text(json.dumps(asked))
    (out / "networks").mkdir(exist_ok=True)
    clock = _Clock(out)
    with Workers(workers, report) as pool:
        with clock.stage("judge and latent space"):
            pool.run([(_judge_stage, (out, recipe, seed)), (_autoencoder_stage, (out, recipe, seed))])
        with clock.stage("base model"):
            pool.run([(_base_stage, (out, recipe, seed, workers))])
        with clock.stage("networks"):
            networks = pool.run([(_network_stage, (out, recipe, seed, concept)) for concept in CONCEPTS])
        with clock.stage("scores of the judge"):
            (judged,) = pool.run([(_judged_stage, (out, recipe, seed))])
    shutil.rmtree(out / _WORK, ignore_errors=True)
    scores = {
        **asked,
        "judge": judged,
        "networks": dict(zip(CONCEPTS, networks, strict=True)),
        "seconds": {**clock.seconds, "all": round(sum(clock.seconds.values()), 1)},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {workers} workers",
        "versions": {
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "transformers": transformers.__version__,
        },
        "bytes": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
    }
    (out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
    write_card(out / "README.md", scores, {**asdict(recipe), "hint": HINT})
    return scores


_WORK = ".training"


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def _check_same_world(out: Path, asked: Mapping[str, object]) -> None:
    """Finished parts are kept, so a folder must not mix two worlds."""
    found = _read(out / _WORK / "asked.json") or _read(out / "scores.json")
    for name, value in asked.items():
        if found and found[name] != value:
            raise ValueError(
                f"{out} holds a world with {name} {found[name]!r}, asked is {value!r}; "
                "give another folder, or remove that one"
            )


class _Clock:
    """Seconds of each stage, kept in a file so that a training that was stopped and went on counts whole."""

    def __init__(self, out: Path) -> None:
        self._path = out / _WORK / "seconds.json"
        self.seconds: dict[str, float] = _read(self._path) or _read(out / "scores.json").get("seconds", {})
        self.seconds.pop("all", None)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began, before = time.perf_counter(), self.seconds.get(name, 0.0)
        try:
            yield
        finally:
            self.seconds[name] = round(before + time.perf_counter() - began, 1)
            self._path.write_text(json.dumps(self.seconds))


def _judge_stage(out: Path, recipe: Recipe, seed: int, report: Report) -> None:
    path = out / "judge.safetensors"
    if not path.exists():
        judge = train_judge(
            seed=seed, pictures=recipe.judge_pictures, epochs=recipe.judge_epochs, report=report
        )
        save_judge(judge, path)


def _autoencoder_stage(out: Path, recipe: Recipe, seed: int, report: Report) -> None:
    folder = out / _WORK / "autoencoder"
    if (out / "model").exists() or folder.exists():
        return
    images = judge_pictures(recipe.autoencoder_pictures, np.random.default_rng(seed + 1), spoiled=0.05).images
    autoencoder = train_autoencoder(
        images, seed=seed, steps=recipe.autoencoder_steps, batch=16, report=report
    )
    unfinished = folder.with_suffix(".part")
    autoencoder.save_pretrained(unfinished)
    unfinished.rename(folder)


def _base_stage(out: Path, recipe: Recipe, seed: int, threads: int, report: Report) -> None:
    if (out / "model").exists():
        return
    # alone on the machine; the user's own wish counts more
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", threads)))
    torch.manual_seed(seed)
    autoencoder = AutoencoderTiny.from_pretrained(out / _WORK / "autoencoder").eval()
    tokenizer = new_tokenizer()
    pictures = base_pictures(
        recipe.base_pictures, np.random.default_rng(seed + 2), hint=HINT, unnamed=UNNAMED
    )
    unet, text_encoder = train_base(
        new_unet(),
        new_text_encoder(tokenizer),
        Examples.of(pictures, encode(autoencoder, pictures.images), tokenizer),
        tokenizer,
        seed=seed,
        steps=recipe.base_steps,
        batch=recipe.base_batch,
        learning_rate=1.5e-3,
        report=report,
    )
    # Under another name first: a folder that is there is a folder that is complete.
    unfinished = out / _WORK / "model"
    shutil.rmtree(unfinished, ignore_errors=True)
    save_model(assemble(unet, text_encoder, tokenizer, autoencoder), unfinished)
    unfinished.rename(out / "model")


def _network_stage(out: Path, recipe: Recipe, seed: int, concept: str, report: Report) -> dict[str, Any]:
    path = out / "networks" / f"{concept}.safetensors"
    failed = out / _WORK / f"{concept}.json"  # so that a training that goes on does not try it again
    if path.exists():
        return read_figures(path)
    if failed.exists():
        figures: dict[str, Any] = json.loads(failed.read_text())
        return figures
    judge, pipeline = Judge.load(out / "judge.safetensors"), load_model(out / "model")
    pipeline.unet.to(memory_format=torch.channels_last)  # faster on a CPU
    torch.set_num_threads(1)
    seed = seed + 100 + CONCEPTS.index(concept)
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    parameters = add_network(pipeline.unet)
    own = narrow_pictures(concept, recipe.own_pictures, random)
    common = base_pictures(recipe.common_pictures, random, hint=HINT, unnamed=UNNAMED)
    common = common.select(
        [index for index, text in enumerate(common.captions) if concept not in text.split()]
    )
    data = [
        Examples.of(pictures, encode(pipeline.vae, pictures.images), pipeline.tokenizer)
        for pictures in (own, common)
    ]
    for attempt in range(recipe.network_rounds):
        train_network(
            pipeline,
            parameters,
            *data,
            seed=seed + 1000 * attempt,
            steps=recipe.network_steps,
            batch=recipe.network_batch,
            learning_rate=recipe.learning_rate / (1 + attempt),
            report=lambda line: report(f"{concept}: {line}"),
        )
        gate = measure(
            pipeline, judge, concept, count=recipe.gate_pictures, steps=recipe.gate_steps, seed=seed
        )
        report(f"{concept}: round {attempt + 1}: {gate}")
        if gate.passed:
            break
    figures = {**gate.to_dict(), "steps": (attempt + 1) * recipe.network_steps, "passed": gate.passed}
    if gate.passed or recipe == QUICK:
        save_network(pipeline.unet, path, concept, figures)
    else:
        failed.write_text(json.dumps(figures))
        report(f"{concept}: did not pass its gate and is left out")
    return figures


def _judged_stage(out: Path, recipe: Recipe, seed: int, report: Report) -> dict[str, Any]:
    judge = Judge.load(out / "judge.safetensors")
    result: dict[str, Any] = {"pictures": recipe.judged_pictures}
    for name, spoiled in (("fresh drawings", 0.0), ("an eighth spoiled", 0.12)):
        pictures = judge_pictures(recipe.judged_pictures, np.random.default_rng(seed + 9), spoiled=spoiled)
        everything, each = accuracy(judge, pictures)
        result[name] = {
            "all five right": round(everything, 4),
            **{key: round(value, 4) for key, value in each.items()},
        }
        report(f"judge on {name}: {result[name]}")
    return result
