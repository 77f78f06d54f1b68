"""Networks of the pool, by Forge's own list and loader."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.networks import ComposedNetwork
from loratorio_ext.hosts.webuis.pool import files_of_pool

# File, time of its last change, model that its layers were found in.
_Version = tuple[str, float, tuple[int, str]]


class Pool:
    """Reads the networks of a pool, and keeps them for the passes and pictures to come."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._read: Mapping[_Version, ComposedNetwork] = {}

    def networks(self, pool: str, taken: Collection[str]) -> tuple[list[ComposedNetwork], list[str]]:
        """(networks of the pool at strength 1, one sentence for each that could not be found or read).

        ``taken``: files of the networks that the prompt names.
        """
        files, problems = files_of_pool(pool, webui.available_files(), webui.network_folder(), taken)
        read: dict[_Version, ComposedNetwork] = {}
        for name, file in files.items():
            try:
                version = (file, Path(file).stat().st_mtime, webui.model_identity())
                read[version] = self._read.get(version) or _network(name, file)
            except Exception as error:  # noqa: BLE001, PERF203 - a loader raises what it likes on a bad file
                problems.append(f"network {name!r} of the pool cannot be read: {error}")
        self._read = read
        return list(read.values()), problems


def _network(name: str, file: str) -> ComposedNetwork:
    unet, clip = webui.patches_of_file(file)
    return ComposedNetwork(name, file, 1.0, 1.0, unet, clip, in_prompt=False)
