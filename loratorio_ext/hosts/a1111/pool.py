"""Networks of the pool, by the WebUI's own list and loader."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.networks import ComposedNetwork
from loratorio_ext.hosts.webuis.pool import files_of_pool

# File, time of its last change, model that its layers were found in.
_Version = tuple[str, float, tuple[int, str]]


class Pool:
    """Reads the networks of a pool, and keeps them for the passes and pictures to come.

    The WebUI's own memory drops networks that no tag names.
    """

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._read: Mapping[_Version, Any] = {}

    def networks(self, pool: str, taken: Collection[str]) -> tuple[list[ComposedNetwork], list[str]]:
        """(networks of the pool at strength 1, one sentence for each that could not be found or read).

        ``taken``: files of the networks that the prompt names.
        """
        listed = webui.available_files()
        files, problems = files_of_pool(pool, listed, webui.network_folder(), taken)
        read: dict[_Version, Any] = {}
        for name, file in files.items():
            try:
                version = (file, Path(file).stat().st_mtime, webui.model_identity())
                read[version] = self._read.get(version) or _network(name, file)
            except Exception as error:  # noqa: BLE001, PERF203 - the WebUI's loader raises what it likes
                problems.append(f"network {name!r} of the pool cannot be read: {error}")
        self._read = read
        return [ComposedNetwork(one, one.name, 1.0, 1.0, in_prompt=False) for one in read.values()], problems


def _network(name: str, file: str) -> Any:
    network = webui.load_network(name, file)
    network.mentioned_name = name
    return network
