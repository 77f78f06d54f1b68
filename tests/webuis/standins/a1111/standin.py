"""The stand-in's model and networks: what its tests ask of it beside what the WebUI has."""

from __future__ import annotations

from types import SimpleNamespace

import networks
import random_networks
import torch
from modules.sd_hijack import model_hijack
from tiny_model import WIDTH, TextEncoder, TinyUnet
from torch import nn

SAID = (
    "AUTOMATIC1111",
    "v1.10.1",
    True,
)  # name, version, whether networks are predicted on top of the merged
KINDS = ("lin", "lin2", "te", "locon", "cp", "loha", "ia3", "full", "norm", "dora")


class Encoder(TextEncoder):
    """Knows textual inversions."""

    def spelled(self, word):
        return getattr(model_hijack.embedding_db.word_embeddings.get(word), "hash", word)


class Model(nn.Module):
    """As much of a checkpoint as the WebUI's parts of the stand-in and the project ask for."""

    def __init__(self, name, seed, kind="sd"):
        super().__init__()
        torch.manual_seed(seed)
        self.model = nn.Module()
        self.model.diffusion_model = TinyUnet()
        self.model.conditioning_key = "crossattn"
        self.cond_stage_model = Encoder()
        self.cond_stage_key = "txt"
        self.cond_stage_model_empty_prompt = torch.zeros(1, 8, WIDTH)
        self.xl = kind == "sdxl"
        self.alphas_cumprod = torch.linspace(0.999, 0.005, 1000)
        self.sd_checkpoint_info = SimpleNamespace(filename=name)
        self.calls = []
        self.fail_at = None
        self.network_layer_mapping = {}
        for part in (self.cond_stage_model, self.model):
            for layer, module in part.named_modules():
                if not hasattr(module, "weight") or isinstance(module, nn.Embedding):
                    continue
                module.network_layer_name = layer.replace(".", "_")
                self.network_layer_mapping[module.network_layer_name] = module
                module.register_forward_pre_hook(lambda layer, _: networks.network_apply_weights(layer))

    def get_learned_conditioning(self, text):
        encoded = self.cond_stage_model(text)
        return {"crossattn": encoded, "vector": encoded.mean(0)} if self.xl else encoded

    def apply_model(self, x, time, cond):
        self.calls.append(len(x))
        if self.fail_at is not None and len(self.calls) >= self.fail_at:
            raise RuntimeError("the model is broken")
        assert len(cond["c_concat"][0]) == len(x)
        text, vector = (cond["crossattn"], cond["vector"]) if self.xl else (cond["c_crossattn"][0], None)
        return self.model.diffusion_model(x, time, text, vector)


def new_model(name="first", seed=0, kind="sd"):
    return Model(name, seed, kind)


def called(model):
    """What is called with rows: it has apply_model, calls (the rows of each) and fail_at."""
    return model


def unet(model):
    return model.model.diffusion_model


def encoder(model):
    return model.cond_stage_model


def options_of_patchers(model):
    """What a generation puts there; the WebUI has no patchers."""
    return ()


def read_files():
    """Names of the networks whose files were read, in order."""
    return networks.read_files


def write_networks(folder, model):
    random_networks.write(
        folder, KINDS, model.network_layer_mapping, "diff", norm_parts=("w_norm", "b_norm"), dora_axis=1
    )
