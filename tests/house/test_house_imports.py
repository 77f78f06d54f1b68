"""Who may import whom, read from the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from types import MappingProxyType
from typing import Protocol

import pytest

PACKAGE = "loratorio_ext"
ENGINE = frozenset({"method", "networks", "settings"})
# part -> the parts of the package it may import, besides itself and the package's version.
PARTS = MappingProxyType(
    {
        "infotext": frozenset(),
        "setting": frozenset(),
        "settings": frozenset({"infotext", "setting"}),
        "method": frozenset(),
        "networks": frozenset(),
        "run": ENGINE,
        "plots": frozenset(),
        "server": ENGINE | {"run", "setting"},
        "hosts": ENGINE | {"run", "server"},
        "world": ENGINE | {"run", "hosts"},
        "evaluate": ENGINE | {"run", "hosts", "world"},
        "bench": ENGINE | {"run"},
        "cli": ENGINE | {"run", "server", "plots", "hosts", "world", "evaluate", "bench", "ui"},
        "api": ENGINE | {"run", "server", "plots", "setting"},
        "ui": ENGINE | {"run", "server", "plots", "infotext", "setting"},
        "__main__": frozenset({"cli"}),
        "__init__": frozenset(),
    }
)
MODELS = frozenset({"torch", "numpy", "einops", "safetensors", "diffusers", "transformers", "PIL"})
# part -> the other people's packages it may import, besides Python's own library.
LIBRARIES = MappingProxyType(
    {
        "infotext": frozenset(),
        "setting": frozenset(),
        "settings": frozenset(),
        "method": frozenset({"torch", "einops"}),
        "networks": frozenset({"torch", "safetensors"}),
        "run": frozenset({"torch"}),
        "hosts": MODELS | {"accelerate"},
        "world": MODELS | {"peft"},
        "evaluate": frozenset({"safetensors", "torch", "numpy"}),
        "bench": frozenset({"torch", "diffusers", "peft"}),
        "plots": frozenset({"numpy", "PIL"}),
        "server": frozenset({"PIL"}),
        "cli": frozenset({"torch", "numpy", "PIL", "tqdm"}),
        "api": frozenset({"fastapi", "PIL"}),
        "ui": frozenset({"gradio", "numpy", "PIL"}),
        "__main__": frozenset(),
        "__init__": frozenset(),
    }
)
# file -> packages that it alone may import.
EXCEPTIONS = MappingProxyType(
    {
        "loratorio_ext/networks/lycoris.py": frozenset({"lycoris"}),
        "loratorio_ext/evaluate/ray_engine.py": frozenset({"ray"}),
        "loratorio_ext/evaluate/composlora/draw.py": frozenset({"PIL"}),
        "loratorio_ext/evaluate/composlora/scoring.py": frozenset({"PIL", "transformers"}),
        "loratorio_ext/hosts/a1111/webui.py": frozenset({"modules", "networks"}),
        "loratorio_ext/hosts/webuis/webui.py": frozenset({"modules"}),
        "loratorio_ext/hosts/forge/webui.py": frozenset({"modules", "backend", "networks"}),
    }
)


class Source(Protocol):
    path: str
    text: str

    @property
    def tree(self) -> ast.Module: ...


def imports(tree: ast.Module, path: str) -> Iterator[str]:
    """Dotted names of everything a file imports, relative imports resolved, wherever they stand."""
    package = path.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = [*base, *(node.module.split(".") if node.module else [])]
            # `from package import part` names the part only in its list of names.
            if stem == [PACKAGE]:
                yield from (f"{PACKAGE}.{alias.name}" for alias in node.names)
            else:
                yield ".".join(stem)


def part_of(path: str) -> str:
    return path.split("/")[1].removesuffix(".py")


def wrong_imports(tree: ast.Module, path: str) -> list[str]:
    part = part_of(path)
    wrong = []
    for name in imports(tree, path):
        head, _, rest = name.partition(".")
        if head == PACKAGE:
            other = rest.partition(".")[0]
            if other not in {"", "__version__", part} and other not in PARTS[part]:
                wrong.append(f"{path} ({part}) imports {name}")
        elif head not in sys.stdlib_module_names | LIBRARIES[part] | EXCEPTIONS.get(path, frozenset()):
            wrong.append(f"{path} ({part}) imports {name}")
    return wrong


def test_every_part_is_known(package_sources: list[Source]) -> None:
    parts = {part_of(source.path) for source in package_sources if source.path.startswith(PACKAGE)}
    assert parts <= set(PARTS) == set(LIBRARIES), "a new part needs its import rules here"


def test_parts_import_only_what_they_may(package_sources: list[Source]) -> None:
    package = [source for source in package_sources if source.path.startswith(PACKAGE)]
    assert package
    assert [line for source in package for line in wrong_imports(source.tree, source.path)] == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("loratorio_ext/method/a.py", "from loratorio_ext.run import Run"),
        ("loratorio_ext/method/a.py", "from ..networks import router"),
        ("loratorio_ext/method/a.py", "import numpy"),
        ("loratorio_ext/networks/a.py", "from loratorio_ext import hosts"),
        ("loratorio_ext/networks/a.py", "from lycoris import functional"),
        ("loratorio_ext/run/a.py", "def f():\n    import diffusers.loaders"),
        ("loratorio_ext/hosts/b.py", "from modules import shared"),
        ("loratorio_ext/hosts/b.py", "from .. import world"),
        ("loratorio_ext/settings.py", "import torch"),
        ("loratorio_ext/cli/a.py", "import gradio"),
    ],
)
def test_a_wrong_import_is_seen(path: str, text: str) -> None:
    assert len(wrong_imports(ast.parse(text), path)) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("loratorio_ext/method/a.py", "import math\nfrom torch import nn\nfrom .b import c\nfrom . import d"),
        ("loratorio_ext/networks/lycoris.py", "def f():\n    import lycoris.functional"),
        ("loratorio_ext/run/a.py", "from loratorio_ext import __version__, method"),
        ("loratorio_ext/cli/a.py", "from loratorio_ext.world.judge import Judge"),
    ],
)
def test_a_right_import_passes(path: str, text: str) -> None:
    assert wrong_imports(ast.parse(text), path) == []
