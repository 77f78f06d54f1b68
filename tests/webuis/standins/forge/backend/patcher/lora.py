"""Merging patches into weights, with a way back."""

from __future__ import annotations

import torch


def merge_lora_to_weight(patches, weight, key="online_lora", computation_dtype=torch.float32):
    weight = weight.to(computation_dtype, copy=True)
    for strength, value, strength_model, offset, function in patches:
        whole = weight
        if offset is not None:
            weight = weight.narrow(*offset)
        weight *= strength_model
        kind, tensors = ("diff", value) if len(value) == 1 else value
        if kind == "set":
            weight.copy_(tensors[0])
        else:
            _add(weight, kind, tensors, strength, function)
        weight = whole
    return weight


def _add(weight, kind, tensors, strength, function):
    scale, dora = 1.0, None
    if kind == "diff":
        difference = tensors[0]
    elif kind == "lora":
        up, down, alpha, mid, dora = tensors
        if mid is not None:
            down = torch.einsum("rs...,si->ri...", mid, down.flatten(1))
        difference = up.flatten(1) @ down.flatten(1)
        scale = 1.0 if alpha is None else alpha / down.shape[0]
    elif kind == "loha":
        a1, b1, alpha, a2, b2, _, _, dora = tensors
        difference = (a1 @ b1) * (a2 @ b2)
        scale = 1.0 if alpha is None else alpha / b1.shape[0]
    else:
        raise ValueError(kind)
    difference = difference.reshape(weight.shape).to(weight) * scale
    if function is not None:
        difference = function(difference)
    if dora is not None:
        merged = weight + difference
        norm = weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1))
        difference = merged * (dora / norm) - weight
    weight += strength * difference


class LoraLoader:
    def __init__(self, model):
        self.model = model
        self.backup = {}
        self.loaded_hash = str([])

    def refresh(self, lora_patches, offload_device=None, force_refresh=False):
        hashes = str(list(lora_patches.keys()))
        if hashes == self.loaded_hash:
            return
        for key, weight in self.backup.items():
            self._set(key, weight)
        self.backup = {}
        found = {}
        for patches in lora_patches.values():
            for key, some in patches.items():
                found.setdefault(key, []).extend(some)
        for key, some in found.items():
            weight = self.backup[key] = self.model.get_parameter(key)
            self._set(key, torch.nn.Parameter(merge_lora_to_weight(some, weight), requires_grad=False))
        self.loaded_hash = hashes

    def _set(self, key, weight):
        name, _, kind = key.rpartition(".")
        setattr(self.model.get_submodule(name), kind, weight)
