"""The hash by which Civitai and the WebUIs know a network's file: its tensors', not its header's."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

from loratorio_ext.networks.files.container import NetworkFileError, read_header

_BLOCK = 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HashReader:
    """Remembers hashes by file, size and time of the last change."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[tuple[int, int], str]] = {}

    def of(self, path: Path, largest: float = math.inf) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of what follows the header; "" where there is none.

        Where the header itself says it (kohya's sshs_model_hash), that is taken, as the WebUI does
        (extensions-builtin/Lora/network.py, ``NetworkOnDisk``; modules/hashes.py). "" too for files of more
        than ``largest`` bytes that do not say it and were not read before.
        """
        try:
            facts = path.stat()
            version = facts.st_size, facts.st_mtime_ns
            known = self._read.get(path)
            if known is None or known[0] != version:
                said = _said(path)
                if not said and facts.st_size > largest:
                    return ""
                known = self._read[path] = version, said or _hash(path)
        except (OSError, NetworkFileError):
            return ""
        return known[1]


def _said(path: Path) -> str:
    said = read_header(path).metadata.get("sshs_model_hash", "")
    return said[:12] if _SHA256.fullmatch(said) else ""


def _hash(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()[:12]
