"""Rules of the house that no tool checks, read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

LONGEST_FILE = 350
# Python of the extension, docstrings included. Whoever needs more says why, or finds what can go.
MOST_FILES, MOST_LINES = 162, 23_640
MUTABLE_CALLS = frozenset(
    {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict", "ChainMap"}
)
# Annotations through which mypy refuses every change.
READ_ONLY = frozenset({"Mapping", "Sequence", "Collection", "Iterable", "Set", "AbstractSet"})


class Source(Protocol):
    path: str
    text: str

    @property
    def tree(self) -> ast.Module: ...

    @property
    def lines(self) -> int: ...


def name_of(node: ast.expr | None) -> str:
    """The last name of `a.b[c](d)`: b."""
    if isinstance(node, (ast.Subscript, ast.Call)):
        return name_of(node.value if isinstance(node, ast.Subscript) else node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def is_mutable(value: ast.expr | None) -> bool:
    displays = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    return isinstance(value, displays) or (isinstance(value, ast.Call) and name_of(value) in MUTABLE_CALLS)


def is_read_only(annotation: ast.expr) -> bool:
    if name_of(annotation) in {"Final", "ClassVar"} and isinstance(annotation, ast.Subscript):
        return is_read_only(annotation.slice)
    return name_of(annotation) in READ_ONLY


def mutable_state(tree: ast.Module) -> Iterator[int]:
    """Lines that make a mutable object shared by the whole process: in a module or in a class body.

    A tuple, frozenset or MappingProxyType says that nothing changes; so does an annotation (Mapping,
    Sequence, ...) through which mypy lets nobody change it.
    """
    classes = [node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for body in [tree.body, *classes]:
        for node in body:
            if isinstance(node, ast.AnnAssign) and is_mutable(node.value):
                allowed = is_read_only(node.annotation)
            elif isinstance(node, ast.Assign) and is_mutable(node.value):
                allowed = [name_of(target) for target in node.targets] == ["__all__"]
            else:
                continue
            if not allowed:
                yield node.lineno


def unbounded_caches(tree: ast.Module) -> Iterator[int]:
    """Lines of functions that remember every result for ever: functools.cache, lru_cache(maxsize=None)."""
    for node in ast.walk(tree):
        for decorator in getattr(node, "decorator_list", []):
            unbounded = isinstance(decorator, ast.Call) and any(
                keyword.arg == "maxsize"
                and isinstance(keyword.value, ast.Constant)
                and not keyword.value.value
                for keyword in decorator.keywords
            )
            if name_of(decorator) == "cache" or (name_of(decorator) == "lru_cache" and unbounded):
                yield decorator.lineno


def hidden_errors(tree: ast.Module) -> Iterator[int]:
    """Lines of handlers that catch everything, or that catch widely and then do nothing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            nothing = all(isinstance(line, ast.Pass) for line in node.body)
            wide = node.type is None or name_of(node.type) in {"Exception", "BaseException"}
            if node.type is None or (wide and nothing):
                yield node.lineno


def global_words(tree: ast.Module) -> Iterator[int]:
    yield from (node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global))


def unfinished(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in {"NotImplementedError", "NotImplemented"}:
            yield node.lineno


Check = Callable[[ast.Module], Iterator[int]]
CHECKS: tuple[Check, ...] = (mutable_state, unbounded_caches, hidden_errors, global_words, unfinished)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_the_package_keeps_the_rules(check: Check, package_sources: list[Source]) -> None:
    assert [f"{s.path}:{line}" for s in package_sources for line in check(s.tree)] == []


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (mutable_state, "a = []"),
        (mutable_state, "a: dict[str, int] = {}"),
        (mutable_state, "a: Final = {1}"),
        (mutable_state, "a = collections.defaultdict(list)"),
        (mutable_state, "class A:\n    b = {}"),
        (unbounded_caches, "@functools.cache\ndef f(): pass"),
        (unbounded_caches, "@lru_cache(maxsize=None)\ndef f(): pass"),
        (hidden_errors, "try:\n    f()\nexcept:\n    g()"),
        (hidden_errors, "try:\n    f()\nexcept Exception:\n    pass"),
        (global_words, "def f():\n    global a\n    a = 1"),
        (unfinished, "def f():\n    raise NotImplementedError"),
    ],
)
def test_a_broken_rule_is_seen(check: Check, text: str) -> None:
    assert len(list(check(ast.parse(text)))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "__all__ = ['a']",
        "a = (1, 2)\nb = frozenset({1})\nc = MappingProxyType({1: 2})",
        "a: Final[Mapping[str, int]] = {}",
        "@lru_cache(maxsize=8)\ndef f():\n    a = []",
        "try:\n    f()\nexcept (ValueError, OSError):\n    pass",
    ],
)
def test_good_code_passes(text: str) -> None:
    assert [line for check in CHECKS for line in check(ast.parse(text))] == []


def test_files_are_short(all_sources: list[Source]) -> None:
    assert {s.path: s.lines for s in all_sources if s.lines > LONGEST_FILE} == {}


def test_the_extension_stays_small(package_sources: list[Source]) -> None:
    extension = [source for source in package_sources if source.path.startswith("loratorio_ext/")]
    assert len(extension) <= MOST_FILES
    assert sum(source.lines for source in extension) <= MOST_LINES


def test_every_file_postpones_annotations(all_sources: list[Source]) -> None:
    code = [s for s in all_sources if s.tree.body and any(not isinstance(n, ast.Expr) for n in s.tree.body)]
    assert [s.path for s in code if "from __future__ import annotations" not in s.text] == []


def test_no_notes_to_self_and_no_places_of_one_machine(all_sources: list[Source], root: Path) -> None:
    names = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "pyproject.toml", "mkdocs.yml")
    documents = [*(root / name for name in names), *sorted((root / "docs").glob("*.md"))]
    texts = {s.path: s.text for s in all_sources if not s.path.startswith("tests/house/")}
    texts |= {path.name: path.read_text("utf-8") for path in documents}
    pattern = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|(?<![\w./>-])/(root|home|Users|work|mnt)/\w")
    found = [f"{path}: {match[0]}" for path, text in texts.items() for match in pattern.finditer(text)]
    assert found == []
