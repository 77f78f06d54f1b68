"""Who may import whom, read from the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import pytest

PACKAGE = "loratorio_ext"
LAB = "loratorio_lab"
NAMES = "loratorio"  # the public names
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
        "cli": ENGINE | {"run", "server", "plots", "hosts", "ui", "infotext"},
        "api": ENGINE | {"run", "server", "plots", "setting"},
        "ui": ENGINE | {"run", "server", "plots", "infotext", "setting"},
        "__init__": frozenset({"settings", "run", "hosts"}),
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
        "plots": frozenset({"numpy", "PIL"}),
        "server": frozenset({"PIL"}),
        "cli": frozenset({"torch", "numpy", "safetensors", "PIL", "tqdm"}),
        "api": frozenset({"fastapi", "PIL"}),
        "ui": frozenset({"gradio", "numpy", "PIL"}),
        "__init__": frozenset(),
    }
)
# The same for the laboratory, which may import everything of the extension.
LAB_PARTS = MappingProxyType(
    {
        "tools": frozenset({"world", "evaluate"}),
        "world": frozenset({"tools"}),
        "evaluate": frozenset({"tools", "world"}),
        "bench": frozenset(),
        "main": frozenset({"tools", "world", "evaluate", "bench"}),
        "__main__": frozenset({"main"}),
        "__init__": frozenset(),
    }
)
LAB_LIBRARIES = MappingProxyType(
    {
        "tools": frozenset(),
        "world": MODELS | {"peft"},
        "evaluate": frozenset({"safetensors", "torch", "numpy"}),
        "bench": frozenset({"torch", "diffusers", "peft"}),
        "main": frozenset(),
        "__main__": frozenset(),
        "__init__": frozenset(),
    }
)
# file -> packages that it alone may import.
EXCEPTIONS = MappingProxyType(
    {
        "loratorio_ext/networks/files/computed.py": frozenset({"lycoris"}),
        "loratorio_ext/hosts/pipelines/adapters.py": frozenset({"peft"}),
        "loratorio_lab/evaluate/ray_engine.py": frozenset({"ray"}),
        "loratorio_lab/evaluate/composlora/autoencoder.py": frozenset({"diffusers"}),
        "loratorio_lab/evaluate/composlora/scoring.py": frozenset({"PIL", "transformers"}),
        "loratorio_ext/hosts/a1111/webui.py": frozenset({"modules", "networks"}),
        "loratorio_ext/hosts/webuis/webui.py": frozenset({"modules", "networks"}),
        "loratorio_ext/hosts/forge/webui.py": frozenset({"modules", "networks"}),
        "loratorio_ext/hosts/forge/own_backend.py": frozenset({"backend", "networks"}),
        "loratorio_ext/hosts/reforge/webui.py": frozenset(
            {"ldm_patched", "modules", "modules_forge", "networks"}
        ),
        "loratorio_ext/hosts/forge_neo/webui.py": frozenset({"modules", "backend", "networks"}),
    }
)


# room of networks -> the other rooms it may import, and whether it may import torch.
ROOMS = MappingProxyType(
    {
        "problems": (frozenset(), False),
        "arguments": (frozenset({"problems"}), False),
        "blocks": (frozenset({"problems"}), False),
        "pool": (frozenset(), False),
        "prompt": (frozenset({"arguments", "blocks", "problems"}), False),
        "router": (frozenset(), True),
        "files": (frozenset({"problems", "prompt", "router"}), True),
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
            if stem in ([PACKAGE], [LAB]):
                yield from (f"{stem[0]}.{alias.name}" for alias in node.names)
            else:
                yield ".".join(stem)


def part_of(path: str) -> str:
    return path.split("/")[1].removesuffix(".py")


def wrong_imports(tree: ast.Module, path: str) -> list[str]:
    package, part = path.split("/")[0], part_of(path)
    if package == "scripts":  # the WebUI loads it: it may import all of the extension and of the WebUI
        return [f"{path} imports {name}" for name in imports(tree, path) if name.partition(".")[0] == LAB]
    if package == NAMES:
        mine = sys.stdlib_module_names | {PACKAGE}
        return [
            f"{path} imports {name}" for name in imports(tree, path) if name.partition(".")[0] not in mine
        ]
    parts, libraries = (PARTS, LIBRARIES) if package == PACKAGE else (LAB_PARTS, LAB_LIBRARIES)
    wrong = []
    for name in imports(tree, path):
        head, _, rest = name.partition(".")
        if head == package:
            other = rest.partition(".")[0]
            right = other in parts[part] | {"", "__version__", part}
        elif head == PACKAGE:
            right = package == LAB
        else:
            right = head in sys.stdlib_module_names | libraries[part] | EXCEPTIONS.get(path, frozenset())
        if not right:
            wrong.append(f"{path} ({part}) imports {name}")
    return wrong


@pytest.mark.parametrize(
    ("package", "parts", "libraries"),
    [(PACKAGE, PARTS, LIBRARIES), (LAB, LAB_PARTS, LAB_LIBRARIES)],
    ids=[PACKAGE, LAB],
)
def test_every_part_is_known(
    package: str, parts: Mapping[str, Any], libraries: Mapping[str, Any], package_sources: list[Source]
) -> None:
    found = {part_of(source.path) for source in package_sources if source.path.startswith(f"{package}/")}
    assert found
    assert found <= set(parts) == set(libraries), "a new part needs its import rules here"


def test_parts_import_only_what_they_may(package_sources: list[Source]) -> None:
    assert {source.path.split("/")[0] for source in package_sources} == {NAMES, PACKAGE, LAB, "scripts"}
    assert [line for source in package_sources for line in wrong_imports(source.tree, source.path)] == []


def imports_across_rooms(tree: ast.Module, path: str) -> list[str]:
    """What a file of networks/ may not import: other rooms' files, other rooms at all, torch."""
    room = path.split("/")[2].removesuffix(".py")
    others, may_import_torch = ROOMS[room]
    wrong = []
    for name in imports(tree, path):
        parts = name.split(".")
        if parts[:2] == [PACKAGE, "networks"] and parts[2:3] != [room]:
            right = len(parts) == 3 and parts[2] in others
        else:
            right = may_import_torch or parts[0] != "torch"
        wrong += [] if right else [f"{path} ({room}) imports {name}"]
    return wrong


def test_rooms_of_networks_import_each_other_by_their_public_names(package_sources: list[Source]) -> None:
    rooms = [one for one in package_sources if one.path.startswith("loratorio_ext/networks/")]
    files = [one for one in rooms if one.path != "loratorio_ext/networks/__init__.py"]
    assert {one.path.split("/")[2].removesuffix(".py") for one in files} == set(ROOMS)
    assert [line for one in files for line in imports_across_rooms(one.tree, one.path)] == []


@pytest.mark.parametrize(
    ("path", "text", "wrong"),
    [
        ("loratorio_ext/networks/prompt.py", "import re", 0),
        ("loratorio_ext/networks/prompt.py", "import torch", 1),
        ("loratorio_ext/networks/router/a.py", "import re\nfrom .b import c", 0),
        ("loratorio_ext/networks/router/a.py", "from loratorio_ext.networks.prompt import Tag", 1),
        ("loratorio_ext/networks/files/a.py", "from loratorio_ext.networks.router import Delta", 0),
        ("loratorio_ext/networks/files/a.py", "from loratorio_ext.networks.router.delta import Delta", 1),
        ("loratorio_ext/networks/files/a.py", "from loratorio_ext.networks import router", 1),
    ],
)
def test_an_import_across_rooms_is_seen(path: str, text: str, wrong: int) -> None:
    assert len(imports_across_rooms(ast.parse(text), path)) == wrong


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("loratorio_ext/method/a.py", "from loratorio_ext.run import Run"),
        ("loratorio_ext/method/a.py", "from ..networks import router"),
        ("loratorio_ext/method/a.py", "import numpy"),
        ("loratorio_ext/networks/files/a.py", "from loratorio_ext import hosts"),
        ("loratorio_ext/networks/files/a.py", "from lycoris import functional"),
        ("loratorio_ext/run/a.py", "def f():\n    import diffusers.loaders"),
        ("loratorio_ext/hosts/b.py", "from modules import shared"),
        ("loratorio_ext/hosts/b.py", "from .. import api"),
        ("loratorio_ext/cli/a.py", "def f():\n    import loratorio_lab.world"),
        ("loratorio_ext/cli/a.py", "from loratorio_lab import tools"),
        ("scripts/loratorio.py", "from loratorio_lab.world import judge"),
        ("loratorio/__init__.py", "import torch"),
        ("loratorio_ext/hosts/a.py", "from loratorio import compose"),
        ("loratorio_lab/bench/a.py", "from loratorio_lab.evaluate import engine"),
        ("loratorio_lab/bench/a.py", "import gradio"),
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
        ("loratorio_ext/networks/files/computed.py", "def f():\n    import lycoris.functional"),
        ("loratorio_ext/run/a.py", "from loratorio_ext import __version__, method"),
        (
            "loratorio_lab/evaluate/a.py",
            "from loratorio_ext.server import history\nimport loratorio_lab.world",
        ),
    ],
)
def test_a_right_import_passes(path: str, text: str) -> None:
    assert wrong_imports(ast.parse(text), path) == []
