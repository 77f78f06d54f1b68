"""The stand-in's model and networks: what its tests ask of it beside what the WebUI has."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import random_networks
import torch
from backend import memory_management, utils
from backend.diffusion_engine.base import ForgeObjects
from backend.modules.k_model import KModel
from backend.operations import ForgeOperations
from backend.patcher.base import ModelPatcher
from backend.patcher.clip import CLIP
from backend.patcher.unet import UnetPatcher
from modules import traits
from modules.prompt_parser import DictWithShape
from tiny_model import TextEncoder, TinyUnet
from torch import nn

ONE_TABLE = not hasattr(ModelPatcher, "refresh_loras")
# Name, version, whether networks are predicted on top of the merged.
SAID = (traits.NAME, "f2.0.1", False)
KINDS = ("lin", "lin2", "te", "locon", "cp", "loha", "full", "norm", "dora", "sliced", "set")
DictWithShape.advanced_indexing = lambda text, places: DictWithShape(
    {name: part[places] for name, part in text.items()}
)


class Engine:
    """As much of a checkpoint as Forge's parts of the stand-in and the project ask for."""

    def __init__(self, name, seed, kind):
        torch.manual_seed(seed)
        self.encoder = TextEncoder()
        self.k_model = KModel(TinyUnet(ForgeOperations.Linear))
        self.kind = kind
        self.sd_checkpoint_info = SimpleNamespace(filename=name)
        self.current_lora_hash = "[]"
        self.extra_generation_params = {}
        clip = CLIP(self.encoder)
        self.forge_objects = ForgeObjects(UnetPatcher(self.k_model), clip, None, None)
        self.forge_objects_original = self.forge_objects.shallow_copy()
        self.forge_objects_after_applying_lora = self.forge_objects.shallow_copy()

    def get_learned_conditioning(self, text):
        memory_management.load_model_gpu(self.forge_objects.clip.patcher)
        if "embedding" in text:
            self.extra_generation_params["TI"] = "embedding"
        encoded = self.encoder(text)
        if self.kind == "sd":
            return encoded
        conds = {"crossattn": encoded, "vector": encoded.mean(0)}
        return conds | ({"guidance": torch.tensor(3.5)} if self.kind == "flux" else {})


def new_model(name="first", seed=0, kind="sd"):
    """kind: "sd", "sdxl" or "flux"."""
    return Engine(name, seed, kind)


def called(model):
    """What is called with rows: it has apply_model, calls (the rows of each) and fail_at."""
    return model.k_model


def unet(model):
    return model.k_model.diffusion_model


def encoder(model):
    return model.encoder


def replace_linears(model, kind, old=ForgeOperations.Linear):
    """Layers made by ``kind(layer)`` in place of the linear ones, or of other ``old`` ones."""
    for name, module in list(model.k_model.named_modules()):
        if isinstance(module, old):
            parent, _, child = name.rpartition(".")
            setattr(model.k_model.get_submodule(parent), child, kind(module))


def options_of_patchers(model):
    """What a generation puts there."""
    original, merged = model.forge_objects_original.unet, model.forge_objects_after_applying_lora.unet
    patches = dict(original.patches if ONE_TABLE else original.lora_patches)
    return patches, copy.deepcopy((original.model_options, merged.model_options))


def read_files():
    """Names of the networks whose files were read, in order."""
    return [Path(one).stem for one in utils.read_files]


def write_networks(folder, model):
    layers = {
        f"{prefix}_{name.replace('.', '_')}": module
        for prefix, part in (("lora", model.k_model), ("te", model.encoder))
        for name, module in part.named_modules()
        if hasattr(module, "weight") and not isinstance(module, nn.Embedding)
    }
    random_networks.write(folder, KINDS, layers, "lora", norm_parts=("diff", "diff_b"), dora_axis=0)
