"""Measure which way of combining networks draws what was asked for."""

from __future__ import annotations

import itertools
import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from loratorio_ext.cli.arms import arms_from
from loratorio_ext.cli.console import OK, Console, Interrupted, Work
from loratorio_ext.cli.suites import COMPOSLORA, POOL, with_defaults
from loratorio_ext.cli.tools import hush_libraries
from loratorio_ext.cli.workers import drawing
from loratorio_ext.cli.worlds import find_worlds, open_world
from loratorio_ext.cli.writing import prepare_folder, write_text

if TYPE_CHECKING:
    from loratorio_ext.cli.places import DemoData
    from loratorio_ext.cli.tools import Tools
    from loratorio_ext.evaluate.draw import Batch
    from loratorio_ext.evaluate.store import Result


def run(arguments: Namespace, tools: Tools, console: Console, work: Work) -> int:
    """`loratorio evaluate`: answers.jsonl, results.json and results.md in --out, the table on stdout."""
    hush_libraries()  # before the modules below import them
    arguments = with_defaults(arguments)
    if arguments.suite == COMPOSLORA:
        from loratorio_ext.cli import composlora

        return composlora.run(arguments, tools, console, work)
    if arguments.suite == POOL:
        from loratorio_ext.cli import pool

        return pool.run(arguments, tools, console, work)
    from loratorio_ext.cli.demo_results import dated_versions
    from loratorio_ext.evaluate.draw import draw
    from loratorio_ext.evaluate.store import Store
    from loratorio_ext.evaluate.summary import markdown, summarize
    from loratorio_ext.evaluate.tasks import tasks

    arms = arms_from(arguments)
    wanted = [
        task
        for networks in sorted(set(arguments.networks))
        for task in tasks(networks, arguments.pictures, arguments.split)
    ]
    folders = find_worlds(arguments, tools)
    each = drawing(arguments, partial(_open_all, folders, tools), tools, console)
    out = prepare_folder(Path(arguments.out))
    about = {
        "arms": [one.to_dict() for one in arms],
        "worlds": list(folders),
        "networks": sorted(set(arguments.networks)),
        "pictures": arguments.pictures,
        "split": arguments.split,
    }
    store = Store(out / "answers.jsonl", about)
    before = len(store)
    if before:
        console.note(f"{before} pictures are there already, in {store.path}")
    try:
        with console.progress("evaluate", "picture") as on_picture:
            draw(store, list(folders), arms, wanted, arguments.batch, work.watch(on_picture), each)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{len(store)} pictures are kept in {store.path}; the same command goes on from them"
        ) from None
    # Workers finish in any order; the table does not depend on it.
    keys = itertools.product((one.name for one in arms), folders, (task.key for task in wanted))
    order = {key: place for place, key in enumerate(keys)}
    cells = summarize(sorted(store, key=lambda result: order.get(result.key, len(order))), wanted)
    table = markdown(cells)
    results = {"made_with": dated_versions(), "about": about, "cells": [cell.to_dict() for cell in cells]}
    write_text(out / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    write_text(out / "results.md", table)
    console.result(table)
    console.result(str(out / "results.md"))
    return OK


def _open_all(folders: Mapping[str, DemoData], tools: Tools) -> Callable[[Batch], list[Result]]:
    """What a worker does first, wherever it is."""
    hush_libraries()
    from loratorio_ext.evaluate.draw import drawn

    return partial(drawn, {name: open_world(name, data, tools) for name, data in folders.items()})
