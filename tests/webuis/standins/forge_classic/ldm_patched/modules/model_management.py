"""Which patchers are loaded, and kept so; every other clone is merged anew."""

from __future__ import annotations

import torch

current_loaded_models = []
stuck = []
free = [1e12]


def get_free_memory(dev=None, torch_free_too=False):
    return free[0]


def get_total_memory(dev=None, torch_total_too=False):
    return 8 * 1024**3


def soft_empty_cache(force=False):
    pass


class LoadedModel:
    def __init__(self, model, memory_required):
        self.model = model
        self.memory_required = memory_required


def free_memory(memory_required, device, keep_loaded=()):
    pass


def load_models_gpu(models, memory_required=0):
    new = [model for model in models if all(one.model is not model for one in current_loaded_models)]
    for model in new:
        for one in [one for one in current_loaded_models if model.is_clone(one.model)]:
            current_loaded_models.remove(one)
            one.model.unpatch_model()
    for model in new:
        model.patch_model()
        current_loaded_models.insert(0, LoadedModel(model, memory_required))


def load_model_gpu(model):
    return load_models_gpu([model])


def cast_to_device(tensor, device, dtype):
    return torch.as_tensor(tensor).to(device, dtype)
