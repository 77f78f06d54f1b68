from __future__ import annotations

import networks
from modules.networks_common import read_tag


class ExtraNetworkLora:
    kinds = ("lora", "lyco")

    def activate(self, p, params_list):
        tags = [read_tag(params) for params in params_list]
        dyn = [int(one.positional[3]) if len(one.positional) > 3 else None for one in params_list]
        networks.load_networks(*([tag[place] for tag in tags] for place in range(3)), dyn)
