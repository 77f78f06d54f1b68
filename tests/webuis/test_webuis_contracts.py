"""Every name and signature of the WebUIs that the adapters use, against the stand-ins and real trees.

The records (``contract.json`` here for what all have, and in each WebUI's folder) were made from v1.10.1 of
AUTOMATIC1111's WebUI, Forge's commit dfdcbab6, Forge Neo 2.26 and reForge's commit 3b56b268. Set a variable
of `TREES` to the folder of a WebUI to compare with it; the source is only read, never run.
"""

from __future__ import annotations

import ast
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webuis.conftest import STACKS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHARED = "loratorio_ext/hosts/webuis/webui.py"
# Variable of the environment with the folder of a real one.
TREES = {
    "a1111": "LORATORIO_WEBUI_TREE",
    "forge": "LORATORIO_FORGE_TREE",
    "forge_neo": "LORATORIO_FORGE_NEO_TREE",
    "reforge": "LORATORIO_REFORGE_TREE",
}
# Modules are imported from them.
FOLDERS = (
    "modules",
    "backend",
    "backend.sampling",
    "backend.patcher",
    "ldm_patched.modules",
    "modules_forge",
)
# What of our own asks a WebUI, in hosts.
ASKING = {
    "a1111": ("a1111/webui.py",),
    "forge": ("forge/webui.py", "forge/own_backend.py"),
    "forge_neo": ("forge/webui.py", "forge/own_backend.py", "forge_neo/webui.py"),
    "reforge": ("forge/webui.py", "reforge/webui.py"),
}
OTHER = "other"  # names that are there, with parameters of no interest to the adapter


def contract_of(host: str) -> dict[str, dict[str, str]]:
    """File → name → parameters of a function, "class", "value", "option" or "argument"."""
    names: dict[str, dict[str, str]] = {}
    for folder in (HERE, HERE / host):
        for file, entries in json.loads((folder / "contract.json").read_text()).items():
            for key, entry in entries.items():  # a function and its parameters, or a kind and its names
                found = {key: entry} if isinstance(entry, str) else dict.fromkeys(entry, key)
                names.setdefault(file, {}).update(found)
    return {
        file: {name: one for name, one in of_file.items() if one != OTHER} for file, of_file in names.items()
    }


CONTRACTS = {host: contract_of(host) for host in TREES}
HOSTS = pytest.mark.parametrize("host", CONTRACTS)
FILES = pytest.mark.parametrize(
    ("host", "file"), [(host, file) for host, names in CONTRACTS.items() for file in names]
)


def files_of_standin(host: str, file: str) -> Iterator[Path]:
    """Where a stand-in may have a WebUI's names, the first counts: also in what is common to all of them."""
    *own, common = (HERE / "standins" / one for one in STACKS[host])
    others = (common / file, common / "modules" / f"{Path(file).stem}_common.py")
    paths = (*(one / file for one in own), *others)
    yield from (path for path in paths if path.exists())


def body_of(node: ast.AST) -> Iterator[ast.stmt]:
    """Statements of a module or class, those under ``if`` and ``try`` too."""
    for statement in getattr(node, "body", []):
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            yield from body_of(statement)


def bound_names(statement: ast.stmt) -> Iterator[str]:
    """The variables and attributes of ``self`` that a statement assigns to."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
    for node in (node for target in targets for node in ast.walk(target)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
            yield node.attr


def arguments_added(tree: ast.AST) -> Iterator[object]:
    """The names that a file gives to ``parser.add_argument``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument"):
            yield from (one.value for one in node.args if isinstance(one, ast.Constant))


def signature(path: Path, name: str) -> str | None:
    """Parameters of a function, or what else the name is; None: there is no such name.

    That is "class", "value" (a variable or attribute), "option", or "argument" of the command line.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        node: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    *owners, last = name.split(".")
    if owners == ["opts"]:
        keys = (key for one in ast.walk(node) if isinstance(one, ast.Dict) for key in one.keys)
        return "option" if any(isinstance(key, ast.Constant) and key.value == last for key in keys) else None
    if owners == ["cmd_opts"]:
        return "argument" if f"--{last.replace('_', '-')}" in set(arguments_added(node)) else None
    for owner in owners:
        found = [one for one in body_of(node) if isinstance(one, ast.ClassDef) and one.name == owner]
        if not found:
            return None
        node = found[0]
    for statement in body_of(node):
        if isinstance(statement, ast.FunctionDef) and statement.name == last:
            return ast.unparse(_without_defaults(statement.args))
        if isinstance(statement, ast.ClassDef) and statement.name == last:
            return "class"
        if last in bound_names(statement):
            return "value"
    methods = [one for one in body_of(node) if isinstance(one, ast.FunctionDef)] if owners else []
    inside = (one for method in methods for one in ast.walk(method) if isinstance(one, ast.stmt))
    return "value" if any(last in bound_names(one) for one in inside) else None


def _without_defaults(arguments: ast.arguments) -> ast.arguments:
    for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        one.annotation = None
    return arguments


@FILES
def test_the_stand_in_offers_what_the_webui_offers(host: str, file: str) -> None:
    paths = list(files_of_standin(host, file))
    for name, recorded in CONTRACTS[host][file].items():
        found = (signature(path, name) for path in paths)
        offered = next((one for one in found if one is not None), None)
        assert _without_values(str(offered)) == _without_values(recorded), f"{name}: {offered}"


@FILES
def test_a_real_tree_offers_it(host: str, file: str) -> None:
    tree = os.environ.get(TREES[host])
    if not tree:
        pytest.skip(f"{TREES[host]} is not set: no source of that WebUI to compare with")
    names = CONTRACTS[host][file]
    assert {name: signature(Path(tree) / file, name) for name in names} == names


def _without_values(parameters: str) -> list[str]:
    """Stand-ins need no default values that nobody uses, and no mutable ones."""
    return [one.partition("=")[0].lstrip("*").replace("kwargs", "kw") for one in parameters.split(", ")]


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        (host, ours)
        for host, asking in ASKING.items()
        for ours in (*(f"loratorio_ext/hosts/{one}" for one in asking), SHARED, "scripts/loratorio.py")
    ],
)
def test_the_contract_holds_every_name_that_is_touched(host: str, ours: str) -> None:
    contract = CONTRACTS[host]
    tree = ast.parse((ROOT / ours).read_text(encoding="utf-8"))
    networks = next(file for file in contract if file.endswith("/networks.py"))
    file_of: dict[str, str] = {}
    touched: set[tuple[str, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            file_of |= {one.asname or one.name: networks for one in node.names if one.name == "networks"}
        elif isinstance(node, ast.ImportFrom) and node.module in FOLDERS:
            folder = node.module.replace(".", "/")
            file_of |= {one.asname or one.name: f"{folder}/{one.name}.py" for one in node.names}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith(
            ("modules.", "backend.", "ldm_patched.")
        ):
            touched |= {(f"{str(node.module).replace('.', '/')}.py", one.name) for one in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in file_of:
            touched.add((file_of[node.value.id], node.attr))
    assert touched
    known = {(file, name.split(".")[0]) for file, names in contract.items() for name in names}
    assert touched - known == set()


@HOSTS
@pytest.mark.parametrize("owner", ["opts", "cmd_opts"])
def test_the_contract_holds_every_option_and_argument_that_is_read(host: str, owner: str) -> None:
    files = (*(ROOT / "loratorio_ext" / "hosts" / host).glob("*.py"), ROOT / SHARED)
    read = {
        f"{owner}.{node.attr}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] == owner
    }
    assert read
    assert read <= {name for names in CONTRACTS[host].values() for name in names}
