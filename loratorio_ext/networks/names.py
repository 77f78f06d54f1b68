"""Which texts may name a network."""

from __future__ import annotations

MAX_NAME = 200
"""Longest name, in characters. File systems allow 255 bytes a component."""


def name_problem(name: str) -> str | None:
    """Why `name` cannot name a network; None if it can.

    A name is a file's stem, with subfolders before it if need be ("style/ink"), or the name that the
    file gives itself. It is only ever compared, never joined to a path; names that look like a way out of the
    folder are refused all the same, so that the message says what is wrong.
    """
    if not name:
        return "the name is empty"
    if len(name) > MAX_NAME:
        return f"the name has {len(name)} characters; at most {MAX_NAME} are allowed"
    if not name.isprintable():
        return "the name has control characters or others that cannot be shown"
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or "." in parts or "" in parts:
        return "the name must be a file's stem, with subfolders inside the networks' folder at most"
    return None
