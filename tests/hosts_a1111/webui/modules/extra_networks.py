from __future__ import annotations


class ExtraNetworkParams:
    """The parts of a tag between its colons; one with exactly one equals sign has a name."""

    def __init__(self, items):
        self.items = items
        self.positional = [item for item in items if item.count("=") != 1]
        self.named = dict(item.split("=") for item in items if item.count("=") == 1)

    def __eq__(self, other):
        return self.items == other.items
