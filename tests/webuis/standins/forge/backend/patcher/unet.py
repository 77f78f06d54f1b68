from __future__ import annotations

from backend.patcher.base import ModelPatcher


class UnetPatcher(ModelPatcher):
    def __init__(self, model):
        super().__init__(model)
        self.controlnet_linked_list = None
        self.extra_concat_condition = None
        self.extra_preserved_memory_during_sampling = 0

    def clone(self):
        other = super().clone()
        other.controlnet_linked_list = self.controlnet_linked_list
        other.extra_concat_condition = self.extra_concat_condition
        other.extra_preserved_memory_during_sampling = self.extra_preserved_memory_during_sampling
        return other

    def add_extra_preserved_memory_during_sampling(self, memory_in_bytes):
        self.extra_preserved_memory_during_sampling += memory_in_bytes
