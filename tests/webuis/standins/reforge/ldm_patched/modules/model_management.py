"""Which patchers are loaded, referred to weakly: one that is gone is replaced by what it was cloned from."""

from __future__ import annotations

import weakref

import torch

current_loaded_models = []
stuck = []  # nothing is
free = [1e12]


def get_free_memory(dev=None, torch_free_too=False):
    return free[0]


def get_total_memory(dev=None, torch_total_too=False):
    return 8 * 1024**3


def soft_empty_cache(force=False):
    pass


class LoadedModel:
    def __init__(self, model):
        self._set_model(model)

    def _set_model(self, model):
        self._model = weakref.ref(model)
        if model.parent is not None:
            self._parent_model = weakref.ref(model.parent)
            weakref.finalize(model, self._switch_parent).atexit = False

    def _switch_parent(self):
        model = self._parent_model()
        if model is not None:
            self._set_model(model)

    @property
    def model(self):
        return self._model()


def free_memory(memory_required, device, keep_loaded=()):
    pass


def load_models_gpu(
    models, memory_required=0, force_patch_weights=False, minimum_memory_required=None, force_full_load=False
):
    for model in set(models):
        current_loaded_models[:] = [one for one in current_loaded_models if not model.is_clone(one.model)]
        model.partially_load(None)
        current_loaded_models.insert(0, LoadedModel(model))


def load_model_gpu(model):
    return load_models_gpu([model])


def cast_to_device(tensor, device, dtype):
    return torch.as_tensor(tensor).to(device, dtype)
