from __future__ import annotations

import copy

from backend.patcher.lora import LoraLoader


class ModelPatcher:
    def __init__(self, model):
        self.model = model
        self.lora_patches = {}
        self.model_options = {"transformer_options": {}}
        self.load_device = None
        if not hasattr(model, "lora_loader"):
            model.lora_loader = LoraLoader(model)
        self.lora_loader = model.lora_loader

    def model_size(self):
        return sum(one.numel() * one.element_size() for one in self.model.parameters())

    def clone(self):
        other = type(self)(self.model)
        other.lora_patches = self.lora_patches.copy()
        other.model_options = copy.deepcopy(self.model_options)
        return other

    def is_clone(self, other):
        return self.model is other.model

    def add_patches(self, *, filename, patches, strength_patch=1.0, strength_model=1.0, online_mode=False):
        added = {}
        for key, patch in patches.items():
            name, offset, function = (*key, None)[:3] if isinstance(key, tuple) else (key, None, None)
            added.setdefault(name, []).append([strength_patch, patch, strength_model, offset, function])
        self.lora_patches[(filename, strength_patch, strength_model, online_mode)] = added
        return set(patches)

    def refresh_loras(self):
        self.lora_loader.refresh(self.lora_patches)

    def memory_required(self, input_shape):
        return self.model.memory_required(input_shape)
