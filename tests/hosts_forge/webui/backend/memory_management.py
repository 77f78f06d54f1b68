"""Which patchers are loaded; loading one merges its patches into the modules that its clones share."""

from __future__ import annotations

import torch

current_loaded_models = []
free = [1e12]


def get_free_memory(dev=None, torch_free_too=False):
    return free[0]


def get_total_memory(dev=None, torch_total_too=False):
    return 8 * 1024**3


def soft_empty_cache(force=False):
    pass


def load_models_gpu(models, memory_required=0, hard_memory_preservation=0):
    for model in models:
        if any(loaded is model for loaded in current_loaded_models):
            continue
        current_loaded_models[:] = [other for other in current_loaded_models if not model.is_clone(other)]
        model.refresh_loras()
        current_loaded_models.insert(0, model)


def load_model_gpu(model):
    load_models_gpu([model])


def cast_to_device(tensor, device, dtype):
    return torch.as_tensor(tensor).to(device, dtype)
