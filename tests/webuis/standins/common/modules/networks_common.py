"""For the stand-ins' own ``networks.py`` and ``extra_networks_lora.py``; no WebUI has this file."""

from __future__ import annotations

from pathlib import Path

from modules import shared
from modules.network_common import NetworkOnDisk

available_networks = {}
available_network_aliases = {}
forbidden_network_aliases = {}
loaded_networks = []


def list_available_networks():
    available_networks.clear()
    available_network_aliases.clear()
    forbidden_network_aliases.clear()
    for path in sorted(Path(shared.cmd_opts.lora_dir).rglob("*.safetensors")):
        on_disk = NetworkOnDisk(path.stem, str(path))
        if on_disk.alias in available_network_aliases:
            forbidden_network_aliases[on_disk.alias.lower()] = 1
        available_networks[path.stem] = available_network_aliases[path.stem] = on_disk
        available_network_aliases[on_disk.alias] = on_disk


def read_tag(params):
    """(name, strength in the text encoder, strength in the UNet)"""
    te = float(params.positional[1]) if len(params.positional) > 1 else 1.0
    te = float(params.named.get("te", te))
    unet = float(params.positional[2]) if len(params.positional) > 2 else te
    return params.positional[0], te, float(params.named.get("unet", unet))
