"""The safetensors container: header first, bounded, nothing executed."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from loratorio_ext.networks.problems import shown

MAX_HEADER = 32 * 2**20
"""Largest header in bytes. Trainers write long statistics of tags there, a few MB at most."""
MAX_TENSORS = 20_000
"""Most tensors in a file. A LoKr of all 1,300 layers of SDXL has up to 8 a layer (factors low-rank, Tucker
cores, alpha, DoRA), 10,400; of Qwen-Image's 850 layers 6,800. Only mixtures of experts have more."""
MAX_KEY = 500
"""Longest key in characters; those of today have 150 at most."""
MAX_KEYS = 2_000_000
"""Most characters of keys in all."""
MAX_DIMS = 8
PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
_PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_PICKLE_REFUSED = (
    "this is a pickle (.pt, .ckpt, .bin), which can run any code when it is opened, so it is refused; take "
    "the .safetensors version of the network, or convert it in a place you trust"
)
_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class NetworkFileError(ValueError):
    """A network file that cannot be used. The message names the file (`path`), the reason and the remedy."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"network file {shown(path.name, 120)}: {reason}")
        self.path = path


class Header(NamedTuple):
    """A file's header. shapes: by key. metadata: hostile text, as it is."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]


def _check_most(path: Path, what: str, found: int, most: int) -> None:
    if found > most:
        reason = f"it holds {found} {what}; a network has at most {most}, so it is another kind of file"
        raise NetworkFileError(path, f"{reason} or damaged; take another version of the network")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file in safetensors, which checks its header; pickles and long headers are refused before that."""
    try:
        with path.open("rb") as file:
            first = file.read(8)
            length = int.from_bytes(first, "little")
            too_long = length > MAX_HEADER
            listed = 0 if too_long else file.read(length).count(b'"data_offsets"')
        # A short safetensors header may begin like a pickle, a pickle never like a short header.
        if path.suffix.lower() in PICKLES or (too_long and first.startswith(_PICKLE_MAGIC)):
            raise NetworkFileError(path, _PICKLE_REFUSED)
        if too_long:
            reason = (
                "it is not a safetensors file (the first 8 bytes do not give the length of a header of at "
            )
            raise NetworkFileError(path, f"{reason}most {MAX_HEADER} bytes); download it again")
        _check_most(path, "tensors", listed, MAX_TENSORS)  # before safetensors reads them
        with safe_open(str(path), framework="pt", device="cpu") as tensors:
            yield tensors
    except SafetensorError as error:
        reason = f"it is truncated, damaged or not a safetensors file ({shown(str(error), 200)})"
        raise NetworkFileError(path, f"{reason}; download it again") from error
    except OSError as error:
        raise NetworkFileError(path, f"it cannot be read ({error.strerror or error})") from error


def read_header(path: Path) -> Header:
    """Shapes and metadata, without the tensors; NetworkFileError for what is not a safetensors file."""
    with _opened(path) as file:
        keys = file.keys()
        longest, length = max(map(len, keys), default=0), sum(map(len, keys))
        _check_most(path, "tensors", len(keys), MAX_TENSORS)
        _check_most(path, "characters in one key", longest, MAX_KEY)
        _check_most(path, "characters in all keys", length, MAX_KEYS)
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in keys}
        for key, shape in shapes.items():
            if len(shape) > MAX_DIMS:
                reason = (
                    f"{shown(key, 120)} has {len(shape)} dims; at most {MAX_DIMS} are allowed, so the file"
                )
                raise NetworkFileError(path, f"{reason} is damaged; download it again")
        return Header(MappingProxyType(shapes), MappingProxyType(file.metadata() or {}))


def _is_finite(tensor: Tensor) -> bool:
    """By parts, since the answer for all numbers at once takes a quarter of the memory or more."""
    return all(bool(torch.isfinite(part).all()) for part in tensor.flatten().split(2**20))


def _usable(path: Path, key: str, tensor: Tensor, must_be_finite: bool) -> Tensor:
    one_number = tensor.numel() == 1 and not tensor.is_complex()  # alpha and on_input may be whole numbers
    if tensor.numel() == 0:
        reason = f"is empty (shape {tuple(tensor.shape)})"
    elif not tensor.is_floating_point() and not one_number:
        reason = f"holds {tensor.dtype}; a network must be stored as floating-point numbers"
    else:
        # A copy, so that the file may change; float16 holds every number of both float8 types.
        dtype = torch.float16 if tensor.dtype in _FLOAT8 else torch.float32
        usable = tensor.clone() if tensor.dtype in _PLAIN else tensor.to(dtype)
        if not must_be_finite or _is_finite(usable):
            return usable
        reason = "holds NaN or infinite numbers: the training failed, or the file is damaged; "
        reason += "download it again or take another version"
    raise NetworkFileError(path, f"{shown(key, 120)} {reason}")


def read_tensors(path: Path, keys: Iterable[str], unneeded: Container[str] = ()) -> dict[str, Tensor]:
    """Reads these tensors onto the CPU: copies, so that the file may change or go afterwards.

    Dtypes float16, bfloat16, float32, float64 as they are, float8 as float16, others as float32. unneeded:
    keys whose numbers may be infinite or NaN. Raises NetworkFileError for a file that safetensors refuses,
    and for tensors that are empty, not finite or not floating.
    """
    with _opened(path) as file:
        return {key: _usable(path, key, file.get_tensor(key), key not in unneeded) for key in keys}
