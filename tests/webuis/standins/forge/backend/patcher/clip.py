from __future__ import annotations

from backend.patcher.base import ModelPatcher


class CLIP:
    def __init__(self, model, patcher=None):
        self.cond_stage_model = model
        self.patcher = ModelPatcher(model) if patcher is None else patcher

    def clone(self):
        return CLIP(self.cond_stage_model, self.patcher.clone())
