"""The suite "composlora": the field's testbed, with the user's copies of its files; pictures are kept."""

from __future__ import annotations

import operator
import os
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from loratorio_ext.cli.console import Console, InputError
from loratorio_ext.cli.writing import whole_file
from loratorio_ext.hosts.diffusers_host.autoencoder import check_autoencoder_folder
from loratorio_ext.hosts.diffusers_host.pipeline import pick_device
from loratorio_lab.evaluate.arms import REFERENCE, Arm, arms_from
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
from loratorio_lab.evaluate.engine import Suite, about_arms
from loratorio_lab.evaluate.lines import Lines
from loratorio_lab.evaluate.summary import Estimate, Group, shown

CAUTION: Final = (
    "CLIPScore compares a picture with words; it does not see whether networks were composed. In the "
    "testbed's own study its correlation with people's judgement of composition was -0.006 (Pearson; that of "
    "GPT-4V was 0.454): do not judge composition by it alone, look at the pictures."
)
NOT_SCORED: Final = "The pictures were not scored: run the same command with --clip, nothing is drawn again."
_LONG: Final = frozenset({"arms", "fingerprints", "list"})  # in results.json only


@dataclass(frozen=True)
class Cell:
    """One arm with one number of networks.

    Attributes:
        arm: its name.
        networks: N.
        pictures: how many were drawn.
        score: CLIPScore, 0 to 100; None where nothing was scored.
        behind: score by LoRAtorio less score by this arm, of the same tasks; None without both.
        cut: share of the scored pictures whose caption was longer than CLIP reads.
        ratio: predictions, as a multiple of what the base alone takes.
        seconds: of the model for a picture, the mean.
    """

    arm: str
    networks: int
    pictures: int
    score: Estimate | None
    behind: Estimate | None
    cut: float | None
    ratio: float
    seconds: float


class ComposLoraSuite(Suite[Arm, ComposLoraTask, Picture, Drawn]):
    """The testbed's combinations by every method, scored with CLIPScore where there is the model."""

    FILE = "pictures.jsonl"
    SCHEMA = "loratorio.composlora.pictures"
    REFERENCE = REFERENCE
    COLUMNS = (
        ("networks", lambda cell: str(cell.networks)),
        ("method", lambda cell: cell.arm),
        ("CLIPScore", lambda cell: shown(cell.score, digits=2)),
        ("LoRAtorio ahead by", lambda cell: shown(cell.behind, "+", 2)),
        ("× rows", lambda cell: f"{cell.ratio:.2f}"),
        ("seconds", lambda cell: f"{cell.seconds:.2f}"),
        ("pictures", lambda cell: str(cell.pictures)),
    )

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
            "arms": about_arms(arms),
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

    def is_there(self, records: Lines[Picture], arm: Arm, world: str, task: ComposLoraTask) -> bool:
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

    def cells(self, groups: Sequence[Group[ComposLoraTask, Picture]], console: Console) -> list[Cell]:
        """See `Cell`; pictures that have no score yet are scored, where there is a CLIP model."""
        scores: Mapping[tuple[str, str], Score] = {}
        if self.clip is not None:
            self.clip.to(pick_device(self.recipe.device))
            pictures = [
                (arm.name, task, self.path(arm.name, task)) for arm in self.arms for task in self.tasks
            ]
            with console.progress("score", "picture") as on_picture:
                scores = score_pictures(self.out, self.clip, pictures, on_picture)
        return [cell_of(group, scores) for group in groups]

    def made_with(self, records: Lines[Picture]) -> dict[str, Any]:
        """With the devices, the CLIP model and the libraries that draw and score."""
        return {
            "devices": sorted({picture.device for picture in records}),
            "clip": None if self.clip is None else {"name": self.clip.name, "sha256": self.clip.digest},
            **super().made_with(records),
            **{package: metadata.version(package) for package in ("diffusers", "transformers")},
        }

    def page(self, cells: Sequence[Cell], made_with: Mapping[str, Any]) -> str:
        """The table, how it was made, and what it cannot say."""
        return super().page(cells, made_with) + notes(cells, {**self.about, **made_with})


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


def cell_of(group: Group[ComposLoraTask, Picture], scores: Mapping[tuple[str, str], Score]) -> Cell:
    """The figures of one arm with one number of networks; `scores` by arm and task's key."""

    def score(task: ComposLoraTask, picture: Picture) -> float:
        return scores[picture.arm, picture.task].score

    scored = group.where(lambda picture: (picture.arm, picture.task) in scores)
    cuts = [scores[picture.arm, picture.task].cut for _, picture in scored.pictures]
    count = len(group.pictures)
    return Cell(
        group.arm,
        group.networks,
        pictures=count,
        score=scored.mean(score) if scored.pictures else None,
        behind=scored.paired(score, operator.sub),
        cut=sum(cuts) / len(cuts) if cuts else None,
        ratio=group.ratio,
        seconds=sum(picture.seconds for _, picture in group.pictures) / count,
    )


def notes(cells: Sequence[Cell], facts: Mapping[str, Any]) -> str:
    """What stands below the table: what the scores are worth, and the facts by name."""
    scored = any(cell.score is not None for cell in cells)
    lines = ["", "Mean ± standard error, clustered by combination of networks." if scored else NOT_SCORED]
    cut = [f"{cell.arm} {cell.networks}: {cell.cut:.0%}" for cell in cells if cell.cut]
    if cut:
        lines += ["", f"Captions longer than CLIP reads, of which it saw the beginning: {', '.join(cut)}."]
    lines += ["", CAUTION, ""]
    lines += [f"- {name}: {value}" for name, value in facts.items() if name not in _LONG]
    lines += ["", "results.json has this with all settings and fingerprints of all files."]
    return "\n".join(lines) + "\n"
