from __future__ import annotations

import re


class ExtraNetworkParams:
    """The parts of a tag between its colons; one with exactly one equals sign has a name."""

    def __init__(self, items):
        self.items = items
        self.positional = [item for item in items if item.count("=") != 1]
        self.named = dict(item.split("=") for item in items if item.count("=") == 1)

    def __eq__(self, other):
        return self.items == other.items


def activate(p, extra_network_data):
    """A network's activation that raises is followed by one without any."""
    import extra_networks_lora

    network = extra_networks_lora.ExtraNetworkLora()
    params = [one for kind in network.kinds for one in extra_network_data.get(kind, [])]
    try:
        network.activate(p, params)
    except Exception:
        network.activate(p, [])
    for script in p.scripts:
        script.after_extra_networks_activate(
            p, *p.script_args, batch_number=0, prompts=p.prompts, extra_network_data=extra_network_data
        )


def parse_prompts(prompts):
    """(prompts without tags, the tags of the first prompt by kind)."""
    tag = re.compile(r" *<(\w+):([^>]+)>")
    data = {}
    for kind, text in tag.findall(prompts[0]):
        data.setdefault(kind, []).append(ExtraNetworkParams(text.split(":")))
    return [tag.sub("", prompt) for prompt in prompts], data
