"""Every name and signature of the WebUIs that the adapters use, against the stand-ins and real trees.

The records (``contract.json`` in each WebUI's folder) were made from v1.10.1 of AUTOMATIC1111's WebUI and
Forge's commit dfdcbab6, and release 2.26 of Forge Neo. Set LORATORIO_WEBUI_TREE, LORATORIO_FORGE_TREE or
LORATORIO_FORGE_NEO_TREE to the folder of a WebUI to compare with it; the source is only read, never run.
"""

from __future__ import annotations

import ast
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHARED = "loratorio_ext/hosts/webuis/webui.py"
FOLDERS = ("modules", "backend", "backend.sampling", "backend.patcher")  # modules are imported from them


@dataclass(frozen=True)
class Contract:
    """One WebUI's names: file → name → parameters of a function, "class", "value", "option" or "argument"."""

    record: Path
    standins: tuple[str, ...]  # folders, the first that has a name counts
    tree: str  # variable of the environment with the folder of a real one
    ours: tuple[str, ...]
    networks: str  # where its ``networks`` lies

    @property
    def names(self) -> dict[str, dict[str, str]]:
        names: dict[str, dict[str, str]] = json.loads(self.record.read_text())
        return names

    def files_of_standin(self, file: str) -> Iterator[Path]:
        """Where a stand-in may have the names of a WebUI's file: also in what is common to all of them."""
        folders = [HERE / "standins" / one for one in self.standins]
        paths = [*(one / file for one in folders), folders[-1] / "modules" / f"{Path(file).stem}_common.py"]
        yield from (path for path in paths if path.exists())


CONTRACTS = {
    "a1111": Contract(
        HERE / "a1111" / "contract.json",
        ("a1111", "common"),
        "LORATORIO_WEBUI_TREE",
        ("loratorio_ext/hosts/a1111/webui.py", SHARED, "scripts/loratorio.py"),
        "extensions-builtin/Lora/networks.py",
    ),
    "forge": Contract(
        HERE / "forge" / "contract.json",
        ("forge", "common"),
        "LORATORIO_FORGE_TREE",
        ("loratorio_ext/hosts/forge/webui.py", SHARED, "scripts/loratorio.py"),
        "extensions-builtin/sd_forge_lora/networks.py",
    ),
    "forge_neo": Contract(
        HERE / "forge" / "contract_neo.json",
        ("forge_neo", "forge", "common"),
        "LORATORIO_FORGE_NEO_TREE",
        (
            "loratorio_ext/hosts/forge/webui.py",
            "loratorio_ext/hosts/forge_neo/webui.py",
            SHARED,
            "scripts/loratorio.py",
        ),
        "extensions-builtin/sd_forge_lora/networks.py",
    ),
}
FILES = pytest.mark.parametrize(
    ("host", "file"), [(host, file) for host, contract in CONTRACTS.items() for file in contract.names]
)


def body_of(node: ast.AST) -> Iterator[ast.stmt]:
    """Statements of a module or class, those under ``if`` and ``try`` too."""
    for statement in getattr(node, "body", []):
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            yield from body_of(statement)


def bound_names(statement: ast.stmt) -> Iterator[str]:
    targets: Sequence[ast.expr] = ()
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    for target in targets:
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                yield node.id
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
            ):
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
    contract = CONTRACTS[host]
    paths = list(contract.files_of_standin(file))
    for name, recorded in contract.names[file].items():
        found = (signature(path, name) for path in paths)
        offered = next((one for one in found if one is not None), None)
        assert alike(offered, recorded), f"{name}: {offered}"


@FILES
def test_a_real_tree_offers_it(host: str, file: str) -> None:
    contract = CONTRACTS[host]
    tree = os.environ.get(contract.tree)
    if not tree:
        pytest.skip(f"{contract.tree} is not set: no source of that WebUI to compare with")
    names = contract.names[file]
    assert {name: signature(Path(tree) / file, name) for name in names} == names


def alike(standin: str | None, recorded: str) -> bool:
    """Stand-ins need no default values that nobody uses, and no mutable ones."""
    return _without_values(str(standin)) == _without_values(recorded)


def _without_values(parameters: str) -> list[str]:
    return [one.partition("=")[0].lstrip("*").replace("kwargs", "kw") for one in parameters.split(", ")]


@pytest.mark.parametrize(
    ("host", "ours"), [(host, ours) for host, contract in CONTRACTS.items() for ours in contract.ours]
)
def test_the_contract_holds_every_name_that_is_touched(host: str, ours: str) -> None:
    contract = CONTRACTS[host]
    tree = ast.parse((ROOT / ours).read_text(encoding="utf-8"))
    file_of: dict[str, str] = {}
    touched: set[tuple[str, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            file_of |= {
                one.asname or one.name: contract.networks for one in node.names if one.name == "networks"
            }
        elif isinstance(node, ast.ImportFrom) and node.module in FOLDERS:
            folder = node.module.replace(".", "/")
            file_of |= {one.asname or one.name: f"{folder}/{one.name}.py" for one in node.names}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith(("modules.", "backend.")):
            touched |= {(f"{str(node.module).replace('.', '/')}.py", one.name) for one in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in file_of:
            touched.add((file_of[node.value.id], node.attr))
    assert touched
    missing = {
        (file, name)
        for file, name in touched
        if not any(known.split(".")[0] == name for known in contract.names.get(file, ()))
    }
    assert missing == set()


def attributes_of(host: str, owner: str) -> set[str]:
    """Attributes that the adapter reads of an object of the WebUI."""
    package = ROOT / "loratorio_ext" / "hosts" / host
    files = (*package.glob("*.py"), ROOT / SHARED)
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    return {
        f"{owner}.{node.attr}"
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] == owner
    }


@pytest.mark.parametrize("host", CONTRACTS)
def test_the_contract_holds_every_option_that_is_read(host: str) -> None:
    read = attributes_of(host, "opts")
    assert read
    assert read <= set(CONTRACTS[host].names["modules/shared_options.py"])


@pytest.mark.parametrize("host", CONTRACTS)
def test_the_contract_holds_every_argument_that_is_read(host: str) -> None:
    read = attributes_of(host, "cmd_opts")
    assert read
    assert read <= {name for names in CONTRACTS[host].names.values() for name in names}
