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


def parse_prompts(prompts):
    """(prompts without tags, the tags of the first prompt by kind)."""
    tag = re.compile(r" *<(\w+):([^>]+)>")
    data = {}
    for kind, text in tag.findall(prompts[0]):
        data.setdefault(kind, []).append(ExtraNetworkParams(text.split(":")))
    return [tag.sub("", prompt) for prompt in prompts], data
