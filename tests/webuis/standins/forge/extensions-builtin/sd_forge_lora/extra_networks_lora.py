from __future__ import annotations

from types import SimpleNamespace

import networks
from modules import shared
from modules.networks_common import read_tag


class ExtraNetworkLora:
    kinds = ("lora",)

    def activate(self, p, params_list):
        if shared.opts.sd_lora != "None":  # "Add network to prompt"
            params_list = [*params_list, SimpleNamespace(positional=[shared.opts.sd_lora, 1.0], named={})]
        tags = [read_tag(params) for params in params_list]
        networks.load_networks(*([tag[place] for tag in tags] for place in range(3)))
