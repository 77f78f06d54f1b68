"""For the stand-ins' own ``network.py``; no WebUI has this file."""

from __future__ import annotations

from safetensors import SafetensorError, safe_open


class NetworkOnDisk:
    def __init__(self, name, filename):
        self.name = name
        self.filename = filename
        try:
            with safe_open(filename, framework="pt") as file:
                self.metadata = file.metadata() or {}
        except SafetensorError:
            self.metadata = {}
        self.alias = self.metadata.get("ss_output_name", name)


class Network:
    def __init__(self, name, network_on_disk):
        self.name = name
        self.network_on_disk = network_on_disk
        self.mentioned_name = None
