from __future__ import annotations

import torch
from network import NetworkModule


class NetworkModuleLora(NetworkModule):
    def __init__(self, net, key, sd_module, weights):
        super().__init__(net, key, sd_module, weights)

        def holder(weight):
            return None if weight is None else torch.nn.ParameterDict({"weight": torch.nn.Parameter(weight)})

        self.up_model = holder(weights["lora_up.weight"])
        self.down_model = holder(weights["lora_down.weight"])
        self.mid_model = holder(weights.get("lora_mid.weight"))
        self.dim = weights["lora_down.weight"].shape[0]

    def calc_updown(self, orig_weight):
        up, down = self.up_model["weight"], self.down_model["weight"]
        if self.mid_model is not None:
            mid = self.mid_model["weight"]
            whole = torch.einsum("or,rs...,si->oi...", up.flatten(1), mid, down.flatten(1))
        else:
            rank = self.network.dyn_dim or up.shape[1]
            whole = up.flatten(1)[:, :rank] @ down.flatten(1)[:rank]
        return self.finalize_updown(whole, orig_weight)
