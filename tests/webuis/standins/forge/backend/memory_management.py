"""Which patchers are loaded; loading one merges its patches into the modules that its clones share."""

from __future__ import annotations

import sys

import torch

current_loaded_models = []
stuck = []  # names of models that nobody could move off the device any more
free = [1e12]


def get_free_memory(dev=None, torch_free_too=False):
    return free[0]


def get_total_memory(dev=None, torch_total_too=False):
    return 8 * 1024**3


def soft_empty_cache(force=False):
    pass


class LoadedModel:
    def __init__(self, model):
        self.model = model


def free_memory(memory_required, device, keep_loaded=(), free_all=False):
    """What nobody else refers to is forgotten where it is; all else could be moved."""
    for i in range(len(current_loaded_models) - 1, -1, -1):
        if sys.getrefcount(current_loaded_models[i].model) <= 2:
            stuck.append(type(current_loaded_models.pop(i).model.model).__name__)


def load_models_gpu(models, memory_required=0, hard_memory_preservation=0):
    new = [model for model in models if all(loaded.model is not model for loaded in current_loaded_models)]
    for model in new:
        current_loaded_models[:] = [one for one in current_loaded_models if not model.is_clone(one.model)]
    free_memory(memory_required, None)
    for model in new:
        model.refresh_loras()
        current_loaded_models.insert(0, LoadedModel(model))


def load_model_gpu(model):
    load_models_gpu([model])


def cast_to_device(tensor, device, dtype):
    return torch.as_tensor(tensor).to(device, dtype)
