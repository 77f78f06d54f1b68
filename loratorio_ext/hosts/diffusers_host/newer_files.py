"""Models that transformers 5 saved, read by transformers 4.

Transformers 5 writes a tokenizer as one file, and a CLIP text encoder's weights without the first part of
their names. Transformers 4 does not find either: the one it refuses, and of the other it says in a log that
the weights are missing, and goes on with random ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPTokenizer, CLIPTokenizerFast

__all__ = ["fast_tokenizers", "mend_text_encoders"]

_FIRST_PART: Final = "text_model."


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
