"""Every name and signature of the WebUI that the adapter uses, against the stand-in and a real tree.

``contract.json`` was recorded from v1.10.1. Set LORATORIO_WEBUI_TREE to the folder of a WebUI to compare with
it; the source is only read, never run.
"""

from __future__ import annotations

import ast
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CONTRACT: dict[str, dict[str, str | None]] = json.loads((HERE / "contract.json").read_text())
FILES = {"networks": "extensions-builtin/Lora/networks.py"}
ENTRIES = [(file, name) for file, names in CONTRACT.items() for name in names]


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


def signature(tree: Path, file: str, name: str) -> str | None:
    """Parameters of a function, "class", "value" (variable or attribute), "option", or None: no such name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        node: ast.AST = ast.parse((tree / file).read_text(encoding="utf-8"))
    *owners, last = name.split(".")
    if owners == ["opts"]:
        keys = (key for one in ast.walk(node) if isinstance(one, ast.Dict) for key in one.keys)
        return "option" if any(isinstance(key, ast.Constant) and key.value == last for key in keys) else None
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


@pytest.mark.parametrize(("file", "name"), ENTRIES)
def test_the_stand_in_offers_what_the_webui_offers(file: str, name: str) -> None:
    assert signature(HERE / "webui", file, name) == CONTRACT[file][name]


@pytest.mark.parametrize(("file", "name"), ENTRIES)
def test_a_real_tree_offers_it(file: str, name: str) -> None:
    tree = os.environ.get("LORATORIO_WEBUI_TREE")
    if not tree:
        pytest.skip("LORATORIO_WEBUI_TREE is not set: no WebUI's source to compare with")
    assert signature(Path(tree), file, name) == CONTRACT[file][name]


@pytest.mark.parametrize("ours", ["loratorio_ext/hosts/a1111/webui.py", "scripts/loratorio.py"])
def test_the_contract_holds_every_name_that_is_touched(ours: str) -> None:
    tree = ast.parse((HERE.parents[1] / ours).read_text(encoding="utf-8"))
    file_of: dict[str, str] = {}
    touched: set[tuple[str, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            file_of |= {one.asname or one.name: FILES[one.name] for one in node.names if one.name in FILES}
        elif isinstance(node, ast.ImportFrom) and node.module == "modules":
            file_of |= {one.asname or one.name: f"modules/{one.name}.py" for one in node.names}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("modules."):
            touched |= {(f"{str(node.module).replace('.', '/')}.py", one.name) for one in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in file_of:
            touched.add((file_of[node.value.id], node.attr))
    assert touched
    missing = {
        (file, name)
        for file, name in touched
        if not any(known.split(".")[0] == name for known in CONTRACT.get(file, ()))
    }
    assert missing == set()


def test_the_contract_holds_every_option_that_is_read() -> None:
    package = HERE.parents[1] / "loratorio_ext" / "hosts"
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (package / "a1111").glob("*.py")]
    read = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] == "opts"
    }
    assert read
    assert {f"opts.{name}" for name in read} <= set(CONTRACT["modules/shared_options.py"])
