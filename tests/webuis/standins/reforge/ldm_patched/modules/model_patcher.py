"""Patchers with one table of patches for all networks; an identity tells which of them weights have."""

from __future__ import annotations

import copy
import uuid

import torch
from backend.utils import set_attr

from ldm_patched.modules.lora import calculate_weight


class ModelPatcher:
    def __init__(self, model):
        self.model = model
        self.patches = {}
        self.backup = {}
        self.model_options = {"transformer_options": {}}
        self.load_device = None
        self.patches_uuid = uuid.uuid4()
        self.parent = None
        if not hasattr(model, "current_weight_patches_uuid"):
            model.current_weight_patches_uuid = None

    def model_size(self):
        return sum(one.numel() * one.element_size() for one in self.model.parameters())

    def clone(self):
        other = type(self)(self.model)
        other.patches = {name: patches[:] for name, patches in self.patches.items()}
        other.patches_uuid = self.patches_uuid
        other.backup = self.backup
        other.model_options = copy.deepcopy(self.model_options)
        other.parent = self
        return other

    def is_clone(self, other):
        return hasattr(other, "model") and self.model is other.model

    def add_patches(self, patches, strength_patch=1.0, strength_model=1.0):
        known = dict(self.model.named_parameters())
        added = []
        for key, patch in patches.items():
            name, offset, function = (*key, None)[:3] if isinstance(key, tuple) else (key, None, None)
            if name in known:
                entry = (strength_patch, patch, strength_model, offset, function)
                self.patches.setdefault(name, []).append(entry)
                added.append(key)
        self.patches_uuid = uuid.uuid4()
        return added

    def partially_load(self, device_to, extra_memory=0, force_patch_weights=False):
        if self.model.current_weight_patches_uuid == self.patches_uuid:
            return 0
        self.unpatch_model()
        for key, patches in self.patches.items():
            weight = self.backup[key] = self.model.get_parameter(key)
            merged = calculate_weight(patches, weight.detach().clone(), key)
            set_attr(self.model, key, torch.nn.Parameter(merged, requires_grad=False))
        self.model.current_weight_patches_uuid = self.patches_uuid
        self.model.times_merged = getattr(self.model, "times_merged", 0) + bool(self.patches)
        return 0

    def unpatch_model(self, device_to=None, unpatch_weights=True):
        for key, weight in self.backup.items():
            set_attr(self.model, key, weight)
        self.backup.clear()
        self.model.current_weight_patches_uuid = None

    def calculate_weight(self, patches, weight, key, intermediate_dtype=torch.float32):
        raise AssertionError("deprecated: it fills the log")

    def memory_required(self, input_shape):
        return self.model.memory_required(input_shape)
