"""Reads a model's list of parts (model_index.json); refuses parts that are not the libraries' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

__all__ = ["ModelError", "read_model_index"]

# Where diffusers may import a part's class from. It imports any module that the file names, before anything
# else is checked, so another name could be a module of somebody's own.
_LIBRARIES: Final = ("diffusers", "transformers", "stable_diffusion")


class ModelError(ValueError):
    """A model that cannot be opened or used; the message names the path, the reason and the remedy."""


def read_model_index(folder: Path) -> dict[str, Any]:
    """The entries of ``folder``/model_index.json; "_class_name" is a text, parts are [library, class].

    Raises:
        ModelError: the file cannot be read, names no class of pipeline, or has a part that is neither
            [null, null] nor a class of diffusers or transformers.
    """
    file = folder / "model_index.json"
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        name = entries["_class_name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read as a list of a model's parts: {error}") from error
    if not isinstance(name, str):
        raise ModelError(
            f"{file}: _class_name is {_shown(name)}; it must be the name of a pipeline of diffusers."
        )
    for part, value in entries.items():
        if not part.startswith("_") and not _is_allowed(value):
            raise ModelError(
                f"{file}: the part {part!r} is {_shown(value)}; it must be [null, null] or a class of "
                f"{', '.join(_LIBRARIES)}, as text. Code that comes with a model is not run."
            )
    return dict(entries)


def _is_allowed(value: object) -> bool:
    if value is None or isinstance(value, (bool, int, float)):  # an option of the pipeline, not a part
        return True
    if not isinstance(value, list) or len(value) != 2:
        return False
    library, kind = value
    return (library is None and kind is None) or (library in _LIBRARIES and isinstance(kind, str))


def _shown(value: object) -> str:
    return json.dumps(value)[:80]
