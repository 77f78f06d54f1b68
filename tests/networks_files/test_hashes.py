"""Hashes of networks' files, as the WebUIs write them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from loratorio_ext.networks.files import HashReader


def test_the_hash_is_that_of_the_tensors(tmp_path: Path) -> None:
    """kohya's way (sd-scripts, library/train_util.py, ``addnet_hash_safetensors``): all after the header."""
    path, reader = tmp_path / "a.safetensors", HashReader()
    tensors = {"a": torch.arange(700_000.0), "b": torch.ones(3)}
    save_file(tensors, path)
    raw = path.read_bytes()
    whole = hashlib.sha256(raw[8 + int.from_bytes(raw[:8], "little") :]).hexdigest()
    assert reader.of(path) == whole[:12]
    save_file(tensors, path, {"title": "another header"})
    assert reader.of(path) == whole[:12]
    save_file({"a": torch.ones(1)}, path)
    assert reader.of(path) not in ("", whole[:12])


def test_what_the_header_says_is_taken_if_it_is_a_hash(tmp_path: Path) -> None:
    path, reader = tmp_path / "a.safetensors", HashReader()
    save_file({"a": torch.ones(1)}, path, {"sshs_model_hash": "0123456789abcdef" * 4})
    assert reader.of(path, largest=0) == "0123456789ab"
    save_file({"a": torch.ones(1)}, path, {"sshs_model_hash": "a: b, <x>"})
    assert len(reader.of(path)) == 12 and reader.of(path).isalnum()


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path, reader = tmp_path / "a.safetensors", HashReader()
    save_file({"a": torch.ones(4)}, path)
    first, facts = reader.of(path), path.stat()
    save_file({"a": torch.zeros(4)}, path)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert reader.of(path) == first  # of the same size and time
    os.utime(path, ns=(1, 1))
    assert reader.of(path) != first and reader.of(path, largest=0) == reader.of(path)
    assert HashReader().of(path, largest=0) == "" != HashReader().of(path, path.stat().st_size)
    assert reader.of(tmp_path / "none.safetensors") == ""
    path.write_bytes(b"no")
    assert reader.of(path) == ""
