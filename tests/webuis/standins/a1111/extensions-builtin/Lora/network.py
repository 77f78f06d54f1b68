"""A network, and what each kind of it does to a weight."""

from __future__ import annotations

from modules import network_common
from modules.network_common import NetworkOnDisk  # noqa: F401


class Network(network_common.Network):
    def __init__(self, name, network_on_disk):
        super().__init__(name, network_on_disk)
        self.te_multiplier = 1.0
        self.unet_multiplier = 1.0
        self.dyn_dim = None
        self.modules = {}
        self.bundle_embeddings = {}
        self.mtime = None


class NetworkModule:
    def __init__(self, net, key, sd_module, weights):
        self.network = net
        self.sd_key = key
        self.sd_module = sd_module
        self.shape = sd_module.weight.shape
        self.dim = None
        self.bias = None
        self.alpha = weights["alpha"].item() if "alpha" in weights else None
        self.dora_scale = weights.get("dora_scale")
        self.weights = weights

    def multiplier(self):
        in_text = "transformer" in self.sd_key[:20]
        return self.network.te_multiplier if in_text else self.network.unet_multiplier

    def calc_scale(self):
        return self.alpha / self.dim if self.dim is not None and self.alpha is not None else 1.0

    def calc_updown(self, target):
        raise NotImplementedError()

    def finalize_updown(self, updown, orig_weight, ex_bias=None):
        updown = updown.reshape(orig_weight.shape) * self.calc_scale()
        if self.dora_scale is not None:
            whole = updown + orig_weight
            norm = whole.transpose(0, 1).flatten(1).norm(dim=1).view(1, -1, *[1] * (whole.dim() - 2))
            updown = whole * (self.dora_scale / norm) - orig_weight
        if ex_bias is not None:
            ex_bias = ex_bias * self.multiplier()
        return updown * self.multiplier(), ex_bias


class NetworkModuleHada(NetworkModule):
    def calc_updown(self, target):
        w = self.weights
        self.dim = w["hada_w1_b"].shape[0]
        whole = (w["hada_w1_a"] @ w["hada_w1_b"]) * (w["hada_w2_a"] @ w["hada_w2_b"])
        return self.finalize_updown(whole, target)


class NetworkModuleIa3(NetworkModule):
    def calc_updown(self, target):
        return self.finalize_updown(target * self.weights["weight"].view(1, -1), target)
