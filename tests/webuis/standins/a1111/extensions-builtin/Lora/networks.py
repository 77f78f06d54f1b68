"""Which networks are loaded, and merging them into the layers' weights when these run."""

from __future__ import annotations

import os

import torch
from modules import shared
from modules.networks_common import (  # noqa: F401
    available_network_aliases,
    available_networks,
    forbidden_network_aliases,
    list_available_networks,
    loaded_networks,
)
from network import Network, NetworkModuleHada, NetworkModuleIa3
from network_full import NetworkModuleFull
from network_lora import NetworkModuleLora
from network_norm import NetworkModuleNorm
from safetensors.torch import load_file

networks_in_memory = {}
embeddings = set()
read_files = []
KINDS = {
    "lora_down.weight": NetworkModuleLora,
    "hada_w1_a": NetworkModuleHada,
    "weight": NetworkModuleIa3,
    "diff": NetworkModuleFull,
    "w_norm": NetworkModuleNorm,
}


def load_network(name, network_on_disk):
    read_files.append(name)
    net = Network(name, network_on_disk)
    net.mtime = os.path.getmtime(network_on_disk.filename)
    by_layer = {}
    for key, tensor in load_file(network_on_disk.filename).items():
        layer, _, part = key.partition(".")
        if layer == "bundle_emb":
            net.bundle_embeddings[part] = tensor
        elif layer in shared.sd_model.network_layer_mapping:
            by_layer.setdefault(layer, {})[part] = tensor
    for layer, weights in by_layer.items():
        kind = next(kind for part, kind in KINDS.items() if part in weights)
        net.modules[layer] = kind(net, layer, shared.sd_model.network_layer_mapping[layer], weights)
    return net


def load_networks(names, te_multipliers, unet_multipliers, dyn_dims):
    already_loaded = {net.name: net for net in loaded_networks if net.name in names}
    for net in loaded_networks:
        embeddings.difference_update(net.bundle_embeddings)
    loaded_networks.clear()
    for i, name in enumerate(names):
        refused = name.lower() in forbidden_network_aliases
        on_disk = (available_networks if refused else available_network_aliases).get(name)
        if on_disk is None:
            continue
        net = already_loaded.get(name) or networks_in_memory.get(name)
        if net is None or os.path.getmtime(on_disk.filename) > net.mtime:
            try:
                net = load_network(name, on_disk)
            except Exception:
                continue
            networks_in_memory[name] = net
        net.mentioned_name = name
        net.te_multiplier, net.unet_multiplier = te_multipliers[i], unet_multipliers[i]
        net.dyn_dim = dyn_dims[i]
        loaded_networks.append(net)
        embeddings.update(net.bundle_embeddings)
    networks_in_memory.clear()  # the WebUI's default limit is 0


def network_apply_weights(self):
    """Merges the loaded networks into a layer, from a copy of its first weights, when they have changed."""
    wanted = tuple((x.name, x.te_multiplier, x.unet_multiplier, x.dyn_dim) for x in loaded_networks)
    if getattr(self, "network_current_names", ()) == wanted:
        return
    with torch.no_grad():
        if not hasattr(self, "network_backup"):
            bias = None if self.bias is None else self.bias.clone()
            self.network_backup = (self.weight.clone(), bias)
        weight, bias = self.network_backup
        self.weight.copy_(weight)
        if bias is not None:
            self.bias.copy_(bias)
        for net in loaded_networks:
            module = net.modules.get(self.network_layer_name)
            if module is not None:
                updown, ex_bias = module.calc_updown(self.weight)
                self.weight += updown
                if ex_bias is not None:
                    self.bias += ex_bias
    self.network_current_names = wanted
