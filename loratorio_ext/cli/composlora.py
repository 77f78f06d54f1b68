"""`loratorio evaluate --suite composlora`: the field's testbed, with the user's copies of its files."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loratorio_ext.cli.arms import arms_from
from loratorio_ext.cli.console import OK, Console, InputError, Interrupted, Work
from loratorio_ext.cli.demo_results import dated_versions
from loratorio_ext.cli.tools import hush_libraries
from loratorio_ext.cli.workers import drawing
from loratorio_ext.cli.writing import prepare_folder, write_text

if TYPE_CHECKING:
    from loratorio_ext.cli.tools import Tools
    from loratorio_ext.evaluate.arms import Arm
    from loratorio_ext.evaluate.composlora.draw import Base, Batch, Drawn, Recipe
    from loratorio_ext.evaluate.composlora.records import Picture, Score
    from loratorio_ext.evaluate.composlora.scoring import Clip
    from loratorio_ext.evaluate.composlora.tasks import Task


@dataclass(frozen=True)
class Plan:
    """Everything that decides the pictures, checked: what is drawn, how, and the same as JSON."""

    arms: Sequence[Arm]
    tasks: Sequence[Task]
    recipe: Recipe
    base: Base
    about: Mapping[str, Any]


def run(arguments: Namespace, tools: Tools, console: Console, work: Work) -> int:
    """pictures/, pictures.jsonl, scores-….jsonl, results.json, results.md in --out; the page on stdout."""
    from loratorio_ext.evaluate.composlora.draw import draw
    from loratorio_ext.evaluate.composlora.records import open_pictures
    from loratorio_ext.evaluate.composlora.scoring import Clip
    from loratorio_ext.evaluate.composlora.styles import STYLES
    from loratorio_ext.evaluate.composlora.summary import markdown, summarize

    plan = _plan(arguments)
    each = drawing(arguments, _Open(plan.base), tools, console)
    clip = None if arguments.clip is None else Clip.open(arguments.clip)
    out = prepare_folder(Path(arguments.out))
    pictures = open_pictures(out, plan.about)
    usual = STYLES[arguments.style].autoencoder
    if usual is not None and arguments.vae is None:
        console.warn(f"the testbed decodes {arguments.style} with {usual}; give it with --vae to do the same")
    if len(pictures):
        console.note(f"{len(pictures)} pictures are there already, in {out}")
    try:
        with console.progress("evaluate", "picture") as bar:
            on_picture = work.watch(bar)
            draw(
                out,
                pictures,
                plan.arms,
                plan.tasks,
                plan.recipe,
                arguments.batch,
                on_picture,
                console.warn,
                each,
            )
        scores = {} if clip is None else _scored(out, plan, clip, console)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{len(pictures)} pictures are kept in {out}; the same command goes on from them"
        ) from None
    cells = summarize(list(pictures), scores, plan.arms, plan.tasks)
    made_with = _made_with(list(pictures), clip)
    results = {"made_with": made_with, "about": plan.about, "cells": [cell.to_dict() for cell in cells]}
    page = markdown(cells, plan.about, made_with)
    write_text(out / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    write_text(out / "results.md", page)
    console.result(page)
    console.result(str(out / "results.md"))
    return OK


def _plan(arguments: Namespace) -> Plan:
    from loratorio_ext.evaluate.composlora.draw import Base, Recipe
    from loratorio_ext.evaluate.composlora.files import check_base, fingerprint, network_folder
    from loratorio_ext.evaluate.composlora.tasks import tasks
    from loratorio_ext.evaluate.composlora.testbed import find_lists, list_name, read_testbed
    from loratorio_ext.evaluate.composlora.wording import wording
    from loratorio_ext.hosts.diffusers_host.autoencoder import check_autoencoder_folder

    arms = arms_from(arguments)
    base, loras = _given(arguments, "base"), _given(arguments, "lora_dir")
    config, vae = _path(arguments.config), _path(arguments.vae)
    check_base(base, config)
    if vae is not None:
        check_autoencoder_folder(vae)
    # The archive unpacked as its authors say lies two folders below the lists.
    above = [loras, *list(loras.parents)[:2]]
    lists = find_lists([Path(arguments.testbed)] if arguments.testbed else above, arguments.style)
    testbed = read_testbed(lists / list_name(arguments.style))
    words = wording(lists, arguments.style, arguments.prefix, arguments.negative)
    folder = network_folder(loras, arguments.style, testbed)
    numbers = sorted(set(arguments.networks))
    some = [
        task
        for networks in numbers
        for task in tasks(testbed, arguments.style, networks, arguments.pictures, arguments.split, words)
    ]
    recipe = Recipe(
        folder,
        words.negative,
        arguments.strength,
        arguments.sampler,
        arguments.width,
        arguments.height,
    )
    about = {
        "suite": "composlora",
        "style": arguments.style,
        "base": {"name": base.resolve().name, "fingerprint": fingerprint(base)},
        "autoencoder": None if vae is None else {"name": vae.resolve().name, "fingerprint": fingerprint(vae)},
        "list": testbed.digest,
        "fingerprints": {one.id: fingerprint(folder / f"{one.id}.safetensors") for one in testbed.elements},
        "prefix": words.prefix,
        **{name: value for name, value in asdict(recipe).items() if name != "networks"},
        "steps": arguments.steps,
        "cfg": arguments.cfg,
        "dtype": arguments.dtype or "as the device",
        "arms": [one.to_dict() for one in arms],
        "networks": numbers,
        "pictures": arguments.pictures or "each combination once",
        "split": arguments.split,
    }
    opened = Base(base, config, vae, arguments.device, arguments.dtype)
    return Plan(arms, some, recipe, opened, about)


def _given(arguments: Namespace, name: str) -> Path:
    value = getattr(arguments, name)
    if value is None:
        raise InputError(
            f"--suite composlora needs --{name.replace('_', '-')}; `loratorio evaluate --help` tells more"
        )
    return Path(value).absolute()


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).absolute()


@dataclass(frozen=True)
class _Open:
    """What a worker does first, wherever it is."""

    base: Base

    def __call__(self) -> Callable[[Batch], list[Drawn]]:
        hush_libraries()
        return self.base.open()


def _scored(out: Path, plan: Plan, clip: Clip, console: Console) -> dict[tuple[str, str], Score]:
    from loratorio_ext.evaluate.composlora.records import open_scores
    from loratorio_ext.evaluate.composlora.scoring import score_pictures
    from loratorio_ext.hosts.diffusers_host.pipeline import pick_device

    scores = open_scores(out, clip.name, clip.digest)
    clip.to(pick_device(plan.base.device))
    with console.progress("score", "picture") as on_picture:
        return score_pictures(out, scores, plan.arms, plan.tasks, clip, on_picture)


def _made_with(pictures: Sequence[Picture], clip: Clip | None) -> dict[str, Any]:
    return {
        "devices": sorted({picture.device for picture in pictures}),
        "clip": None if clip is None else {"name": clip.name, "sha256": clip.digest},
        **dated_versions(),
        **{package: metadata.version(package) for package in ("diffusers", "transformers")},
    }
