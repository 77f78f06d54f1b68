"""Networks of the pool, by the WebUI's own list and loader."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.networks import ComposedNetwork
from loratorio_ext.networks.pool import choose_pool


def pool_networks(pool: str, taken: Collection[str]) -> tuple[list[ComposedNetwork], list[str]]:
    """(networks of the pool at strength 1, one sentence for each that could not be found or read).

    ``taken``: names of networks that take part already.
    """
    known = {name: _path_below_folder(on_disk) for name, on_disk in webui.available_networks().items()}
    names, unknown = choose_pool(pool, known)
    found: list[ComposedNetwork] = []
    problems = [
        f"{wanted!r} in the pool is no network; the Lora tab shows which there are" for wanted in unknown
    ]
    for name in names:
        if name in taken:
            continue
        try:
            found.append(ComposedNetwork(_loaded(name), name, 1.0, 1.0, in_prompt=False))
        except Exception as error:  # noqa: BLE001 - the WebUI's loader raises what it likes on a bad file
            problems.append(f"network {name!r} of the pool cannot be read: {error}")
    return found, problems


def _path_below_folder(on_disk: Any) -> str:
    path = Path(on_disk.filename)
    try:
        path = path.relative_to(webui.network_folder())
    except ValueError:  # a folder of another option of the WebUI
        path = Path(path.name)
    return path.with_suffix("").as_posix()


def _loaded(name: str) -> Any:
    kept = webui.networks_in_memory()
    on_disk = webui.available_networks()[name]
    network = kept.get(name)
    if network is None or Path(on_disk.filename).stat().st_mtime > network.mtime:
        network = webui.load_network(name, on_disk)
        kept[name] = network
    network.mentioned_name = name
    return network
