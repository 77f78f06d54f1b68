"""The one server of a running WebUI, made from what its adapter answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loratorio_ext.hosts.webuis.networks import path_below
from loratorio_ext.server.history import History
from loratorio_ext.server.options import Options
from loratorio_ext.server.presets import Presets
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words, words_in

if TYPE_CHECKING:
    from loratorio_ext.hosts.webuis.webui import WebuiServices


def server_of(webui: WebuiServices, *, merged_on_top: bool, uncond_at_cfg_1: bool) -> Server:
    """A server that asks the WebUI afresh each time; for the last two arguments see `Server`."""

    def options() -> Options:
        return Options.from_values(webui.option_values())

    def networks() -> dict[str, str]:
        folder = webui.network_folder()
        return {name: path_below(file, folder) for name, file in webui.available_files().items()}

    return Server(
        host=webui.name,
        version=webui.version(),
        history=History(lambda: options().limits_of_history),
        presets=Presets(Path(webui.presets_file())),
        networks=networks,
        refresh=webui.refresh_networks,
        options=options,
        words=lambda: words_in(webui.language()),
        obstacle=webui.obstacle,
        merged_on_top=merged_on_top,
        uncond_at_cfg_1=uncond_at_cfg_1,
        splits_at_and=True,
    )


def server_without_networks(obstacle: str) -> Server:
    """For a WebUI that cannot be asked: it has nothing but our own presets."""
    options = Options()
    return Server(
        host="an unknown WebUI",
        version="",
        history=History(lambda: options.limits_of_history),
        presets=Presets(None),
        networks=dict,
        refresh=_nothing,
        options=lambda: options,
        words=Words,
        obstacle=lambda: obstacle,
        merged_on_top=False,
    )


def _nothing() -> None:
    """Refresh nothing: there are no networks."""
