"""What the suites on the embedded world share: its tasks, who draws, who looks, and what is kept."""

from __future__ import annotations

import hashlib
import itertools
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from loratorio_ext.cli.console import InputError
from loratorio_ext.cli.judge import FACTORS, Judge
from loratorio_ext.cli.tools import DemoData
from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request
from loratorio_ext.run import Report
from loratorio_lab.evaluate.arms import Arm
from loratorio_lab.evaluate.attention_masks import of_attention
from loratorio_lab.evaluate.engine import A, R, Suite
from loratorio_lab.evaluate.lines import Lines
from loratorio_lab.evaluate.masks import regional
from loratorio_lab.evaluate.tasks import Split, Task, deal
from loratorio_lab.tools import LabTools
from loratorio_lab.world.concepts import FACTOR_OF_CONCEPT, Scene, caption, random_scene
from loratorio_lab.world.judge import likeliest

MOST_NETWORKS: Final = sum(bool(factor.concepts) for factor in FACTORS)


@dataclass(frozen=True)
class SceneTask(Task):
    """One picture of the embedded world; each network has the name of the concept that it draws.

    Attributes:
        scene: everything that the picture shall hold, one value for each factor.
    """

    scene: Scene

    @property
    def caption(self) -> str:
        """The scene in words."""
        return caption(self.scene)

    @property
    def prompt(self) -> str:
        """The caption, and a tag of strength 1 for each network."""
        return " ".join([self.caption, *(f"<lora:{concept}:1>" for concept in self.networks)])


def combinations(networks: int) -> tuple[tuple[str, ...], ...]:
    """Every set of so many concepts of different factors, in the order of the factors.

    Raises:
        ValueError: no picture can hold so many.
    """
    if not 1 <= networks <= MOST_NETWORKS:
        raise ValueError(f"networks is {networks}; give 1 to {MOST_NETWORKS}, one for each kind of concept")
    kinds = [factor.concepts for factor in FACTORS if factor.concepts]
    return tuple(
        concepts
        for chosen in itertools.combinations(kinds, networks)
        for concepts in itertools.product(*chosen)
    )


def scene_tasks(networks: int, pictures: int, split: Split) -> tuple[SceneTask, ...]:
    """So many tasks of N networks, 1 to 4; the two splits share no scene and no seed but by chance.

    Raises:
        ValueError: a number or the name of the split is not allowed.
    """
    dealt = deal(combinations(networks), pictures, split)
    return tuple(_task(concepts, split, number) for concepts, number in dealt)


def _task(concepts: tuple[str, ...], split: Split, number: int) -> SceneTask:
    name = f"{'+'.join(concepts)} {split} {number}"
    # A digest, since Python's own hash of a text changes from process to process.
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    scene = random_scene(random)
    scene.update({FACTOR_OF_CONCEPT[concept].name: concept for concept in concepts})
    return SceneTask(concepts, split, number, int(random.integers(2**32)), scene)


@dataclass(frozen=True)
class Answer:
    """What became of one task by one arm.

    Attributes:
        arm: name of the arm.
        world: name of the world that drew it.
        task: key of the task.
        answers: what the judge sees, one value for each factor.
        rows: predictions that the picture took.
        plain_rows: predictions that the base alone takes.
    """

    arm: str
    world: str
    task: str
    answers: Mapping[str, str]
    rows: float
    plain_rows: float

    @property
    def key(self) -> tuple[str, str, str]:
        """No two have the same."""
        return self.arm, self.world, self.task


def presence(task: SceneTask, answer: Answer) -> float:
    """Share of the task's concepts among the judge's answers, in [0, 1]."""
    seen = answer.answers
    return float(np.mean([seen.get(FACTOR_OF_CONCEPT[one].name) == one for one in task.networks]))


def complete(task: SceneTask, answer: Answer) -> float:
    """1 where all of the task's concepts are among the judge's answers, else 0."""
    return float(presence(task, answer) == 1.0)


@dataclass(frozen=True)
class World:
    """A model with its networks and its judge.

    Worlds of different training seeds tell whether a finding holds.

    Attributes:
        name: of the world, in results.
        host: the model.
        judge: says what a picture holds.
        networks: folder of the networks.
    """

    name: str
    host: DiffusersHost
    judge: Judge
    networks: Path


def look(
    world: World,
    arm: Arm,
    tasks: Sequence[SceneTask],
    prompts: Sequence[str],
    networks: Path,
    switch_every: int = 5,
    masks: str = "",
) -> tuple[Report, list[Answer]]:
    """Draw tasks together and let the judge look: what the run did, and an answer for each task.

    Args:
        world: who draws and judges.
        arm: how.
        tasks: what.
        prompts: one for each task.
        networks: folder of the networks.
        switch_every: see `Request`; only Switch reads it.
        masks: see `MethodArm`.
    """
    request = Request(
        prompts=prompts,
        seeds=[task.seed for task in tasks],
        steps=arm.sampling.steps,
        cfg=arm.sampling.cfg,
        sampler=arm.sampling.sampler,
        settings=arm.settings,
        method=arm.method,
        switch_every=switch_every,
        network_dir=networks,
    )
    before = 0
    if masks == "regional":
        request = replace(request, maps=regional(tasks))
    elif masks:
        maps, before = of_attention(world.host, request, [task.networks for task in tasks])
        request = replace(request, maps=maps)
    drawn = world.host.generate(request)
    totals = drawn.report.totals
    rows = totals.rows / len(tasks) + before, totals.plain_rows / len(tasks)
    scores = world.judge.scores(drawn.images)
    return drawn.report, [
        Answer(arm.name, world.name, task.key, likeliest(seen), *rows)
        for task, seen in zip(tasks, scores, strict=True)
    ]


def find_worlds(arguments: Namespace, tools: LabTools) -> dict[str, DemoData]:
    """Worlds by name: those of --world, or "demo" for the embedded one.

    Raises:
        InputError: a folder holds no world, or two have the same name.
    """
    if not arguments.world:
        return {"demo": tools.find_demo_data()}
    folders: dict[str, DemoData] = {}
    for text in arguments.world:
        data = DemoData(Path(text).absolute())
        if not (data.model / "model_index.json").is_file() or not data.judge.is_file():
            raise InputError(
                f"--world {text} holds no world; make one with `loratorio-lab train-demo --out`."
            )
        name = data.folder.resolve().name
        if name in folders:
            raise InputError(f"--world {text}: two worlds are called {name!r}; rename one of the folders.")
        folders[name] = data
    return folders


def open_world(name: str, data: DemoData, tools: LabTools) -> World:
    """Load a world's model and its judge."""
    host = tools.open_host(data.model, None, None, offline=True)
    return World(name, host, tools.load_judge(data.judge), data.networks)


def open_worlds(folders: Mapping[str, DemoData], tools: LabTools) -> dict[str, World]:
    """Load all worlds, by name."""
    return {name: open_world(name, data, tools) for name, data in folders.items()}


class WorldSuite(Suite[A, SceneTask, R, R]):
    """A suite on the embedded world, or on worlds of one's own."""

    def __init__(
        self,
        arguments: Namespace,
        tools: LabTools,
        record: Callable[..., R],
        arms: Sequence[A],
        about: Mapping[str, Any],
    ) -> None:
        """Tasks and worlds as the options say; `about`: what is to be said besides these and the arms."""
        self.folders = find_worlds(arguments, tools)
        self.tools = tools
        numbers = sorted(set(arguments.networks))
        super().__init__(
            Path(arguments.out),
            record,
            arms,
            list(self.folders),
            [task for n in numbers for task in scene_tasks(n, arguments.pictures, arguments.split)],
            {
                **about,
                "arms": [asdict(arm) for arm in arms],
                "worlds": list(self.folders),
                "networks": numbers,
                "pictures": arguments.pictures,
                "split": arguments.split,
            },
        )

    def keep(self, records: Lines[R], drawn: Sequence[R], warn: Callable[[str], None]) -> None:
        """A line for each picture; the pictures themselves are not kept."""
        records.add(drawn)
