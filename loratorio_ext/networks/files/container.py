"""The safetensors container: header first, bounded, nothing executed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from loratorio_ext.networks.prompt import shown

MAX_HEADER = 32 * 2**20
"""Largest header in bytes. Trainers write long statistics of tags there, a few MB at most."""
MAX_TENSORS = 200_000
PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
_PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_PICKLE_REFUSED = (
    "this is a pickle (.pt, .ckpt, .bin), which can run any code when it is opened, so it is refused; take "
    "the .safetensors version of the network, or convert it in a place you trust"
)
_PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class NetworkFileError(ValueError):
    """A network file that cannot be used. The message names the file (`path`), the reason and the remedy."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"network file {shown(path.name, 120)}: {reason}")
        self.path = path


@dataclass(frozen=True)
class Header:
    """A file's header. shapes: by key. metadata: hostile text, as it is."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]


def _header_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            first = file.read(8)
            length = int.from_bytes(first, "little")
            # A short safetensors header may begin like a pickle, a pickle never like a short header.
            magic = length > MAX_HEADER and first.startswith(_PICKLE_MAGIC)
            if magic or path.suffix.lower() in PICKLES:
                raise NetworkFileError(path, _PICKLE_REFUSED)
            if size < 8 or length < 2 or length > MAX_HEADER:
                raise NetworkFileError(
                    path,
                    f"it is not a safetensors file (it has {size} bytes, and the first 8 do not give the "
                    f"length of a header of at most {MAX_HEADER} bytes); download it again",
                )
            if length > size - 8:
                raise NetworkFileError(
                    path,
                    f"it is truncated: its header alone should have {length} bytes, and the file has only "
                    f"{size}; download it again",
                )
            return file.read(length)
    except OSError as error:
        raise NetworkFileError(path, f"it cannot be read ({error.strerror or error})") from error


def read_header(path: Path) -> Header:
    """Reads shapes and metadata without the tensors.

    Raises NetworkFileError for a file that is missing, a pickle, truncated or not safetensors.
    """
    raw = _header_bytes(path)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise NetworkFileError(
            path, "it is not a safetensors file (its header is not JSON); download it again"
        ) from error
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise NetworkFileError(path, "it is not a safetensors file (its header is not a table of tensors)")
    said = header.pop("__metadata__", None)
    metadata = {k: v for k, v in said.items() if isinstance(v, str)} if isinstance(said, dict) else {}
    end = 0
    shapes: dict[str, tuple[int, ...]] = {}
    for key, entry in header.items():
        shape = entry.get("shape") if isinstance(entry, dict) else None
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        for numbers in (shape, offsets):
            if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
                raise NetworkFileError(
                    path, f"it is not a safetensors file (its header has a bad entry for {shown(key)})"
                )
        shapes[key] = tuple(shape or ())
        end = max(end, *(offsets or [0]))
    held = path.stat().st_size - 8 - len(raw)
    if end > held:
        raise NetworkFileError(
            path,
            f"it is truncated: {end} bytes of tensors should follow its header, and only {held} do; download "
            "it again",
        )
    return Header(MappingProxyType(shapes), MappingProxyType(metadata))


def _usable(path: Path, key: str, tensor: Tensor) -> Tensor:
    if math.prod(tensor.shape) == 0:
        raise NetworkFileError(path, f"{shown(key, 120)} is empty (shape {tuple(tensor.shape)})")
    if not tensor.is_floating_point():
        if tensor.numel() != 1:  # alpha and on_input may be whole numbers
            raise NetworkFileError(
                path,
                f"{shown(key, 120)} holds {tensor.dtype}; a network must be stored as floating-point numbers",
            )
        tensor = tensor.to(torch.float32)
    if tensor.dtype not in _PLAIN:
        tensor = tensor.to(torch.float32)
    if not bool(torch.isfinite(tensor).all()):
        raise NetworkFileError(
            path,
            f"{shown(key, 120)} holds NaN or infinite numbers: the training failed, or the file is damaged; "
            "download it again or take another version",
        )
    return tensor


def read_tensors(path: Path, keys: list[str]) -> dict[str, Tensor]:
    """Reads these tensors onto the CPU: copies, so that the file may change or go afterwards.

    Dtypes float16, bfloat16, float32, float64 as they are, others as float32. Raises NetworkFileError for a
    file that safetensors refuses, and for tensors that are empty, not finite or not floating.
    """
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {key: _usable(path, key, file.get_tensor(key).clone()) for key in keys}
    except SafetensorError as error:
        raise NetworkFileError(
            path, f"it is damaged or not a safetensors file ({shown(str(error), 200)})"
        ) from error
    except OSError as error:
        raise NetworkFileError(path, f"it cannot be read ({error.strerror or error})") from error
