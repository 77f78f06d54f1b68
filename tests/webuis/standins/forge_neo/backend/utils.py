from __future__ import annotations

from safetensors.torch import load_file


def load_torch_file(ckpt, *, safe_load=True, device=None, return_metadata=False):
    read_files.append(ckpt)
    return load_file(ckpt)


def deepcopy_(obj):
    if isinstance(obj, dict):
        return {key: deepcopy_(value) for key, value in obj.items()}
    if isinstance(obj, list):
        return [deepcopy_(one) for one in obj]
    return obj


def set_attr(obj, attr, value):
    name, _, last = attr.rpartition(".")
    setattr(obj.get_submodule(name), last, value)


read_files = []
