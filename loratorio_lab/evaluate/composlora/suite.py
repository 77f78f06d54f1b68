"""The suite "composlora": the field's testbed, with the user's copies of its files; pictures are kept."""

from __future__ import annotations

import operator
import os
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from loratorio_ext.cli.console import Console, InputError
from loratorio_ext.cli.writing import whole_file
from loratorio_ext.hosts.diffusers_host.pipeline import pick_device
from loratorio_lab.evaluate.arms import REFERENCE, MethodArm, arms_from
from loratorio_lab.evaluate.composlora.autoencoder import check_autoencoder_folder
from loratorio_lab.evaluate.composlora.draw import Drawn, Picture, Recipe
from loratorio_lab.evaluate.composlora.files import check_base, fingerprint, network_folder
from loratorio_lab.evaluate.composlora.scoring import Clip, Score, score_pictures
from loratorio_lab.evaluate.composlora.styles import STYLES
from loratorio_lab.evaluate.composlora.testbed import (
    ComposLoraTask,
    composlora_tasks,
    find_lists,
    list_name,
    read_testbed,
)
from loratorio_lab.evaluate.composlora.wording import wording
from loratorio_lab.evaluate.engine import Suite
from loratorio_lab.evaluate.lines import Lines
from loratorio_lab.evaluate.summary import Cell, Estimate, Figure, Group, shown

CAUTION: Final = (
    "CLIPScore compares a picture with words; it does not see whether networks were composed. In the "
    "testbed's own study its correlation with people's judgement of composition was -0.006 (Pearson; that of "
    "GPT-4V was 0.454): do not judge composition by it alone, look at the pictures."
)
NOT_SCORED: Final = "The pictures were not scored: run the same command with --clip, nothing is drawn again."
_LONG: Final = frozenset({"arms", "fingerprints", "list"})  # in results.json only


class ComposLoraSuite(Suite[MethodArm, ComposLoraTask, Picture, Drawn]):
    """The testbed's combinations by every method, scored with CLIPScore where there is the model."""

    FILE = "pictures.jsonl"
    SCHEMA = "loratorio.composlora.pictures"
    REFERENCE = REFERENCE

    def __init__(self, arguments: Namespace) -> None:
        """Read and check everything that the options name, but open no model that draws.

        Raises:
            ValueError: something is missing or cannot be used; names it.
        """
        style, arms = arguments.style, arms_from(arguments)
        base, loras = _given(arguments, "base"), _given(arguments, "lora_dir")
        config, vae = _path(arguments.config), _path(arguments.vae)
        check_base(base, config)
        if vae is not None:
            check_autoencoder_folder(vae)
        # The archive unpacked as its authors say lies two folders below the lists.
        above = [loras, *list(loras.parents)[:2]]
        lists = find_lists([Path(arguments.testbed)] if arguments.testbed else above, style)
        testbed = read_testbed(lists / list_name(style))
        words = wording(lists, style, arguments.prefix, arguments.negative)
        folder = network_folder(loras, style, testbed)
        numbers = sorted(set(arguments.networks))
        tasks = [
            task
            for networks in numbers
            for task in composlora_tasks(testbed, style, networks, arguments.pictures, arguments.split, words)
        ]
        shared = {
            "negative": words.negative,
            **{name: getattr(arguments, name) for name in ("strength", "sampler", "width", "height")},
        }
        about = {
            "suite": "composlora",
            "style": style,
            "base": _named(base),
            "autoencoder": None if vae is None else _named(vae),
            "list": testbed.digest,
            "fingerprints": {
                one.id: fingerprint(folder / f"{one.id}.safetensors") for one in testbed.elements
            },
            "prefix": words.prefix,
            **shared,
            "steps": arguments.steps,
            "cfg": arguments.cfg,
            "dtype": arguments.dtype or "as the device",
            "arms": [asdict(arm) for arm in arms],
            "networks": numbers,
            "pictures": arguments.pictures or "each combination once",
            "split": arguments.split,
        }
        super().__init__(Path(arguments.out), Picture, arms, ("",), tasks, about)
        self.style = STYLES[style]
        self.recipe = Recipe(base, config, vae, arguments.device, arguments.dtype, folder, **shared)
        self.clip = None if arguments.clip is None else Clip.open(arguments.clip)
        self._told: set[str] = set()

    def opener(self) -> Recipe:
        """Opens the base model."""
        return self.recipe

    def prepare(self, console: Console) -> None:
        """Say where the testbed does otherwise."""
        usual = self.style.autoencoder
        if usual is not None and self.recipe.autoencoder is None:
            console.warn(
                f"the testbed decodes {self.style.name} with {usual}; give it with --vae to do the same"
            )

    def is_there(self, records: Lines[Picture], arm: MethodArm, world: str, task: ComposLoraTask) -> bool:
        """Its line and its file; a file that was taken away is drawn again."""
        return super().is_there(records, arm, world, task) and self.path(arm.name, task).is_file()

    def path(self, arm: str, task: ComposLoraTask) -> Path:
        """Where a picture lies: made of names that were checked, never read from a file."""
        return self.out / "pictures" / arm / f"{task.combination}-{task.split}-{task.number}.png"

    def keep(self, records: Lines[Picture], drawn: Sequence[Drawn], warn: Callable[[str], None]) -> None:
        """A picture is on disk before its line is; of each warning the first is told."""
        for one in drawn:
            write_picture(self.path(one.picture.arm, one.task), one.png)
        records.add(one.picture for one in drawn)
        for text in dict.fromkeys(text for one in drawn for text in one.warnings):
            if text not in self._told:
                self._told.add(text)
                warn(text)

    def figures(self, console: Console) -> Sequence[Figure[ComposLoraTask, Picture]]:
        """See `figures_of`; pictures that have no score yet are scored, where there is a CLIP model."""
        if self.clip is None:
            return figures_of({})
        self.clip.to(pick_device(self.recipe.device))
        pictures = [(arm.name, task, self.path(arm.name, task)) for arm in self.arms for task in self.tasks]
        with console.progress("score", "picture") as on_picture:
            return figures_of(score_pictures(self.out, self.clip, pictures, on_picture))

    def made_with(self, records: Lines[Picture]) -> dict[str, Any]:
        """With the devices, the CLIP model and the libraries that draw and score."""
        return {
            "devices": sorted({picture.device for picture in records}),
            "clip": None if self.clip is None else {"name": self.clip.name, "sha256": self.clip.digest},
            **super().made_with(records),
            **{package: metadata.version(package) for package in ("diffusers", "transformers")},
        }

    def notes(self, cells: Sequence[Cell[ComposLoraTask, Picture]], made_with: Mapping[str, Any]) -> str:
        """What the scores are worth, and how everything was made."""
        return notes(cells, {**self.about, **made_with})


def _given(arguments: Namespace, name: str) -> Path:
    path = _path(getattr(arguments, name))
    if path is None:
        raise InputError(
            f"--suite composlora needs --{name.replace('_', '-')}; `loratorio-lab evaluate --help` tells more"
        )
    return path


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).absolute()


def _named(path: Path) -> dict[str, str]:
    return {"name": path.resolve().name, "fingerprint": fingerprint(path)}


def write_picture(path: Path, content: bytes) -> None:
    """Write a picture whole or not at all, on disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part, part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def figures_of(scores: Mapping[tuple[str, str], Score]) -> Sequence[Figure[ComposLoraTask, Picture]]:
    """The figures; `scores` by arm and task's key, only of the pictures that were scored."""

    def score(task: ComposLoraTask, picture: Picture) -> float:
        return scores[picture.arm, picture.task].score

    def scored(group: Group[ComposLoraTask, Picture]) -> Group[ComposLoraTask, Picture]:
        return group.where(lambda picture: (picture.arm, picture.task) in scores)

    def mean(group: Group[ComposLoraTask, Picture]) -> Estimate | None:
        return scored(group).mean(score) if scored(group).pictures else None

    def cut(group: Group[ComposLoraTask, Picture]) -> float | None:
        cuts = [scores[picture.arm, picture.task].cut for _, picture in scored(group).pictures]
        return sum(cuts) / len(cuts) if cuts else None

    def seconds(group: Group[ComposLoraTask, Picture]) -> float:
        return sum(picture.seconds for _, picture in group.pictures) / len(group.pictures)

    return (
        Figure("pictures", lambda group: len(group.pictures)),
        # CLIPScore, 0 to 100; None where nothing was scored.
        Figure("score", mean, "CLIPScore", lambda value: shown(value, digits=2)),
        # Score by LoRAtorio less score by this arm, of the same tasks; None without both.
        Figure(
            "behind",
            lambda group: scored(group).paired(score, operator.sub),
            "LoRAtorio ahead by",
            lambda value: shown(value, "+", 2),
        ),
        # Share of the scored pictures whose caption was longer than CLIP reads.
        Figure("cut", cut),
        Figure("ratio", Group.ratio, "× rows", "{:.2f}".format),
        # Of the model, for a picture.
        Figure("seconds", seconds, "seconds", "{:.2f}".format),
    )


def notes(cells: Sequence[Cell[ComposLoraTask, Picture]], facts: Mapping[str, Any]) -> str:
    """What stands below the table: what the scores are worth, and the facts by name."""
    scored = any(values["score"] is not None for _, values in cells)
    lines = ["", "Mean ± standard error, clustered by combination of networks." if scored else NOT_SCORED]
    cut = [f"{group.arm} {group.networks}: {values['cut']:.0%}" for group, values in cells if values["cut"]]
    if cut:
        lines += ["", f"Captions longer than CLIP reads, of which it saw the beginning: {', '.join(cut)}."]
    lines += ["", CAUTION, ""]
    lines += [f"- {name}: {value}" for name, value in facts.items() if name not in _LONG]
    lines += ["", "results.json has this with all settings and fingerprints of all files."]
    return "\n".join(lines) + "\n"
