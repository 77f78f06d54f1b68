"""What a network is: keys, container, types, loading, and finding it by name."""

from __future__ import annotations

from loratorio_ext.networks.files.architectures import made_for
from loratorio_ext.networks.files.container import NetworkFileError
from loratorio_ext.networks.files.folder import NetworkFolder, UnknownNetworkError
from loratorio_ext.networks.files.hashes import HashReader
from loratorio_ext.networks.files.keys import KeyMap, TargetLayer, key_map
from loratorio_ext.networks.files.network import Network, load_network
from loratorio_ext.networks.files.triggers import NO_TRIGGERS, TriggerReader, Triggers, TriggersOf, changed_at

__all__ = [
    "NO_TRIGGERS",
    "HashReader",
    "KeyMap",
    "Network",
    "NetworkFileError",
    "NetworkFolder",
    "TargetLayer",
    "TriggerReader",
    "Triggers",
    "TriggersOf",
    "UnknownNetworkError",
    "changed_at",
    "key_map",
    "load_network",
    "made_for",
]
