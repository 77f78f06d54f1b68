"""What the testbed's prompts say besides the networks' trigger words, read from the user's own copy of it."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = "github.com/maszhongming/Multi-LoRA-Composition"
LARGEST: Final = 1_000_000  # bytes of a file of the testbed that is read; its own lists have 4,000
_FILE: Final = "utils.py"
_FUNCTION: Final = "get_prompt"


@dataclass(frozen=True)
class Wording:
    """What every prompt begins with, and what every picture is kept away from."""

    prefix: str
    negative: str

    def prompt(self, triggers: Sequence[str]) -> str:
        """The prefix and the trigger words."""
        return ", ".join([self.prefix, *triggers] if self.prefix else triggers)


def wording(folder: Path, style: str, prefix: str | None, negative: str | None) -> Wording:
    """The two given texts, and for one that is None the testbed's own.

    The testbed keeps them as constants in a function `get_prompt` of its utils.py. The file is read, not run.

    Args:
        folder: the copy of the testbed's repository.
        style: "anime" or "reality".
        prefix: what prompts begin with, or None.
        negative: what to keep away from, or None.

    Raises:
        ValueError: a text is None and the testbed's cannot be had, or a given one holds "<" or ">".
    """
    for option, text in (("--prefix", prefix), ("--negative", negative)):
        if text is not None and set("<>") & set(text):
            raise ValueError(f"{option} is {text[:60]!r}; it may hold no '<' and '>', which make tags")
    if prefix is not None and negative is not None:
        return Wording(prefix, negative)
    file = folder / _FILE
    try:
        with file.open("rb") as opened:
            found = _texts(ast.parse(opened.read(LARGEST)), style)
        own = Wording(found["prompt"], found["negative_prompt"])
        if set("<>") & set(own.prefix + own.negative):
            raise ValueError("they hold '<' or '>'")
    # SyntaxError and MemoryError: what ast.parse says to a text that is no Python.
    except (OSError, KeyError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"{file} holds no prompts of the style {style!r} ({type(error).__name__}: {error}); name a copy "
            f"of {REPOSITORY} with --testbed, or give both --prefix and --negative"
        ) from error
    return Wording(own.prefix if prefix is None else prefix, own.negative if negative is None else negative)


def _texts(tree: ast.Module, style: str) -> dict[str, str]:
    """The texts that the function's `if image_style == …` assigns for a style, by their names."""
    texts: dict[str, str] = {}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        if function.name == _FUNCTION:
            for node in function.body:
                if isinstance(node, ast.If):
                    texts.update(_assigned(_branch(node, style)))
    return texts


def _branch(node: ast.If, style: str) -> list[ast.stmt]:
    test = node.test
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
        other = test.comparators[0]
        if isinstance(other, ast.Constant) and isinstance(other.value, str):
            return node.body if other.value == style else node.orelse
    return []


def _assigned(lines: list[ast.stmt]) -> dict[str, str]:
    return {
        target.id: line.value.value
        for line in lines
        if isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
        for target in line.targets
        if isinstance(target, ast.Name)
    }
