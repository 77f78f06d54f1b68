"""The embedded worlds that `evaluate` draws in."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from loratorio_ext.cli.console import InputError
from loratorio_ext.cli.places import DemoData

if TYPE_CHECKING:
    from loratorio_ext.cli.tools import Tools
    from loratorio_ext.evaluate.draw import World


def find_worlds(arguments: Namespace, tools: Tools) -> dict[str, DemoData]:
    """Worlds by name: the folder's, or "demo" for the embedded one."""
    if not arguments.world:
        return {"demo": tools.find_demo_data()}
    folders: dict[str, DemoData] = {}
    for text in arguments.world:
        data = DemoData(Path(text).absolute())
        if not (data.model / "model_index.json").is_file() or not data.judge.is_file():
            raise InputError(f"--world {text} holds no world; make one with `loratorio train-demo --out`.")
        name = data.folder.resolve().name
        if name in folders:
            raise InputError(f"--world {text}: two worlds are called {name!r}; rename one of the folders.")
        folders[name] = data
    return folders


def open_world(name: str, data: DemoData, tools: Tools) -> World:
    """Load a world's model and its judge."""
    from loratorio_ext.evaluate.draw import World

    host = tools.open_host(data.model, None, None, offline=True)
    return World(name, host, tools.load_judge(data.judge), data.networks)
