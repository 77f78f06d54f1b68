"""`loratorio evaluate --suite pool`: dynamic selection from pools of several sizes, on the embedded world."""

from __future__ import annotations

import itertools
import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from loratorio_ext.cli.console import OK, Console, Interrupted, Work
from loratorio_ext.cli.option_types import settings_from
from loratorio_ext.cli.tools import hush_libraries
from loratorio_ext.cli.workers import drawing
from loratorio_ext.cli.worlds import find_worlds, open_world
from loratorio_ext.cli.writing import prepare_folder, write_text

if TYPE_CHECKING:
    from loratorio_ext.cli.places import DemoData
    from loratorio_ext.cli.tools import Tools
    from loratorio_ext.evaluate.pool.draw import Choice, PoolBatch

_SEED_OF_DISTRACTORS = 1


def run(arguments: Namespace, tools: Tools, console: Console, work: Work) -> int:
    """choices.jsonl, pools/, results.json and results.md in --out, the table on stdout."""
    from loratorio_ext.cli.demo_results import dated_versions
    from loratorio_ext.evaluate.arms import Sampling
    from loratorio_ext.evaluate.pool.arms import pool_arms
    from loratorio_ext.evaluate.pool.distractors import build_pool
    from loratorio_ext.evaluate.pool.draw import draw, open_choices
    from loratorio_ext.evaluate.pool.summary import markdown, summarize
    from loratorio_ext.evaluate.tasks import tasks

    numbers = sorted(set(arguments.networks))
    sizes = sorted(set(arguments.pool_sizes))
    arms = pool_arms(
        settings_from(arguments),
        Sampling(arguments.steps, arguments.cfg),
        sizes,
        sorted(set(arguments.keep)),
        sorted(set(arguments.rescans)),
    )
    wanted = [task for n in numbers for task in tasks(n, arguments.pictures, arguments.split)]
    folders = find_worlds(arguments, tools)
    out = prepare_folder(Path(arguments.out)).absolute()
    pools = Pools(out / "pools")
    each = drawing(arguments, partial(_open_all, folders, tools, pools), tools, console)
    about = {
        "suite": "pool",
        "arms": [one.to_dict() for one in arms],
        "worlds": list(folders),
        "networks": numbers,
        "pictures": arguments.pictures,
        "split": arguments.split,
    }
    store = open_choices(out / "choices.jsonl", about)
    if len(store):
        console.note(f"{len(store)} pictures are there already, in {store.path}")
    for name, data in folders.items():
        for size in sizes:
            if not pools(name, size).exists():
                console.note(f"making a pool of {size} networks for the world {name}")
                world = open_world(name, data, tools)
                build_pool(pools(name, size), size, data.networks, world.host, _SEED_OF_DISTRACTORS)
    try:
        with console.progress("evaluate", "picture") as on_picture:
            draw(store, list(folders), arms, wanted, arguments.batch, work.watch(on_picture), each)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{len(store)} pictures are kept in {store.path}; the same command goes on from them"
        ) from None
    names = [one.name for one in arms]
    # Workers finish in any order; the table does not depend on it.
    keys = itertools.product(names, folders, (task.key for task in wanted))
    order = {key: place for place, key in enumerate(keys)}
    cells = summarize(sorted(store, key=lambda one: order.get(one.key, len(order))), names, wanted)
    table = markdown(cells)
    results = {"made_with": dated_versions(), "about": about, "cells": [cell.to_dict() for cell in cells]}
    write_text(out / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    write_text(out / "results.md", table)
    console.result(table)
    console.result(str(out / "results.md"))
    return OK


@dataclass(frozen=True)
class Pools:
    """Where the pools are: folder / world / size."""

    folder: Path

    def __call__(self, world: str, size: int) -> Path:
        """The folder of a world's pool."""
        return self.folder / world / str(size)


def _open_all(
    folders: Mapping[str, DemoData], tools: Tools, pools: Pools
) -> Callable[[PoolBatch], list[Choice]]:
    """What a worker does first, wherever it is."""
    hush_libraries()
    from loratorio_ext.evaluate.pool.draw import drawn

    return partial(drawn, {name: open_world(name, data, tools) for name, data in folders.items()}, pools)
