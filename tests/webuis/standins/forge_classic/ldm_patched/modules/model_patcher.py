"""Patchers with one table of patches for all networks, and a backup of their own of what they have merged."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import torch
from backend.utils import set_attr

# How patches are added up is the same in Forge.
_forge = Path(__file__).parents[3] / "forge" / "backend" / "patcher" / "lora.py"
_specification = importlib.util.spec_from_file_location("lora_of_forge", _forge)
_lora = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(_lora)


class ModelPatcher:
    def __init__(self, model):
        self.model = model
        self.patches = {}
        self.backup = {}
        self.model_options = {"transformer_options": {}}
        self.load_device = None

    def model_size(self):
        return sum(one.numel() * one.element_size() for one in self.model.parameters())

    def clone(self):
        other = type(self)(self.model)
        other.patches = {name: patches[:] for name, patches in self.patches.items()}
        other.model_options = copy.deepcopy(self.model_options)
        return other

    def is_clone(self, other):
        return hasattr(other, "model") and self.model is other.model

    def add_patches(self, patches, strength_patch=1.0, strength_model=1.0):
        known = dict(self.model.named_parameters())
        added = [key for key in patches if key in known]
        for key in added:
            self.patches.setdefault(key, []).append((strength_patch, patches[key], strength_model))
        return added

    def patch_model(self, device_to=None, patch_weights=True):
        for key, patches in self.patches.items():
            weight = self.backup[key] = self.model.get_parameter(key)
            merged = self.calculate_weight(patches, weight.detach().clone(), key)
            set_attr(self.model, key, torch.nn.Parameter(merged, requires_grad=False))

    def unpatch_model(self, device_to=None):
        for key, weight in self.backup.items():
            set_attr(self.model, key, weight)
        self.backup.clear()

    def calculate_weight(self, patches, weight, key):
        return _lora.merge_lora_to_weight([(*_with_dora(one), None, None) for one in patches], weight)

    def memory_required(self, input_shape):
        return self.model.memory_required(input_shape)


def _with_dora(patch):
    strength, value, strength_model = patch
    is_low_rank = value[0] == "lora" if isinstance(value[0], str) else False
    return strength, ("lora", (*value[1], None)) if is_low_rank else value, strength_model
