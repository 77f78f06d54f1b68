from __future__ import annotations

from safetensors.torch import load_file


def load_torch_file(ckpt, safe_load=False, device=None):
    read_files.append(ckpt)
    return load_file(ckpt)


read_files = []
