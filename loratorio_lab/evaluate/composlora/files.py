"""The user's copies of networks and models, checked before any work, and told apart by fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from loratorio_ext.hosts.diffusers_host.pipeline import read_model_index
from loratorio_lab.evaluate.composlora.testbed import Testbed
from loratorio_lab.evaluate.composlora.wording import REPOSITORY

_SUFFIX: Final = ".safetensors"
_START: Final = 2**20  # bytes: the header with names and shapes, and the first weights


def network_folder(folder: Path, style: str, testbed: Testbed) -> Path:
    """Where the style's networks lie: ``folder``/style, ``folder``/lora/style (the archive), or ``folder``.

    Raises:
        ValueError: networks of the list are missing; names them.
    """
    missing = {
        place: [one.id for one in testbed.elements if not (place / f"{one.id}{_SUFFIX}").is_file()]
        for place in (folder / style, folder / "lora" / style, folder)
    }
    best = min(missing, key=lambda place: len(missing[place]))
    if missing[best]:
        # Where nothing was found, the place that the user most likely means.
        where = folder / style if len(missing[best]) == len(testbed.elements) else best
        raise ValueError(
            f"networks of the testbed are missing in {where}: "
            f"{', '.join(f'{name}{_SUFFIX}' for name in missing[best])}. Unpack the archive of {REPOSITORY} "
            "and name the folder that holds its anime/ and reality/ with --lora-dir"
        )
    return best


def check_base(base: Path, config: Path | None) -> None:
    """Raise ValueError for a base model that is not there, without loading it."""
    if base.is_dir():
        read_model_index(base)
    elif not base.is_file() or base.suffix.lower() != _SUFFIX:
        raise ValueError(
            f"no base model at {base}; give a folder in the format of diffusers or a {_SUFFIX} file"
        )
    elif config is None:
        raise ValueError(
            f"the base {base} is a single file, which holds no configuration; give --config, a folder in the "
            "format of diffusers of the same model family"
        )


def fingerprint(path: Path) -> str:
    """16 hexadecimal digits of a file, or of all .safetensors files below a folder.

    Names, sizes and first megabytes go in: a whole model takes long to read, and another one differs there.
    """
    files: Sequence[Path] = sorted(path.rglob(f"*{_SUFFIX}")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else ""
        digest.update(f"{name}\n{file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_START))
    return digest.hexdigest()[:16]
