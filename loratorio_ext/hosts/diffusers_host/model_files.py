"""What a model's folder holds, before diffusers reads it: its list of parts, and files of newer libraries.

A list of parts (model_index.json) may name modules of somebody's own, so these are refused.

Transformers 5 writes a tokenizer as one file, and a CLIP text encoder's weights without the first part of
their names. Transformers 4 does not find either: the one it refuses, and of the other it says in a log that
the weights are missing, and goes on with random ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPTokenizer, CLIPTokenizerFast

# Where diffusers may import a part's class from. It imports any module that the file names, before anything
# else is checked, so another name could be a module of somebody's own.
_LIBRARIES: Final = ("diffusers", "transformers", "stable_diffusion")
# What transformers 5 leaves out of the names of a text encoder's weights.
_FIRST_PART: Final = "text_model."


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


def fast_tokenizers(folder: Path, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Part → tokenizer, for those that diffusers cannot load here; nothing with transformers 5.

    With transformers 4 the class that models name reads the older pair of files alone.
    """
    if "tokenizer_file" in CLIPTokenizer.vocab_files_names:
        return {}
    return {
        part: CLIPTokenizerFast.from_pretrained(str(folder / part), local_files_only=True)
        for part in ("tokenizer", "tokenizer_2")
        if part in parts
        and (folder / part / "tokenizer.json").is_file()
        and not (folder / part / "vocab.json").is_file()
    }


def mend_text_encoders(pipeline: Any, folder: Path) -> None:
    """Give text encoders the weights that their file has under other names than theirs.

    Raises:
        RuntimeError: the file does not hold all of an encoder's weights.
    """
    for part in ("text_encoder", "text_encoder_2"):
        encoder, file = getattr(pipeline, part, None), folder / part / "model.safetensors"
        if encoder is None or not file.is_file():
            continue
        wanted = encoder.state_dict()
        with safe_open(str(file), framework="pt") as header:
            saved = set(header.keys())
        shortened = {name for name in wanted if name.removeprefix(_FIRST_PART) in saved - set(wanted)}
        if shortened:
            weights = load_file(file)
            found = {name: weights[name.removeprefix(_FIRST_PART)] for name in shortened}
            encoder.load_state_dict({**wanted, **found})
