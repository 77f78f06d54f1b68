"""Which texts may name a network."""

from __future__ import annotations

from loratorio_ext.networks.problem import Problem

MAX_NAME = 200
"""Longest name, in characters. File systems allow 255 bytes a component."""


def name_problem(name: str) -> Problem | None:
    """Why `name` cannot name a network; None if it can.

    A name is a file's stem, with subfolders before it if need be ("style/ink"), or the name that the
    file gives itself. It is only ever compared, never joined to a path; names that look like a way out of the
    folder are refused all the same, so that the message says what is wrong.
    """
    if not name:
        return Problem("the name is empty")
    if len(name) > MAX_NAME:
        return Problem(
            "the name has {count} characters; at most {most} are allowed",
            {"count": len(name), "most": MAX_NAME},
        )
    if not name.isprintable():
        return Problem("the name has control characters or others that cannot be shown")
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or "." in parts or "" in parts:
        return Problem("the name must be a file's stem, with subfolders inside the networks' folder at most")
    return None
