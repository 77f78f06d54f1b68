"""Choosing networks and folders for the pool from the host's own list, and the text that means them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import gradio as gr

from loratorio_ext.networks.pool import choose_pool
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.gradio_tools import QUIET, HtmlBlock, not_saved

# Characters that separate or end the text of a pool, or that an infotext cannot carry; "?" means any.
_SIGNS: Final = str.maketrans({",": "?", '"': "?", "[": "?", "]": "?"})


class PoolPicker:
    """A list with search that writes into the setting's text box; ``count`` has the number of networks."""

    def __init__(self, server: Server, elem_id: Callable[[str], str], words: Words) -> None:
        """Build it inside the current block."""
        self._server = server
        with gr.Row(equal_height=False):
            self._list = not_saved(
                gr.Dropdown(
                    choices=pool_choices(server.networks()),
                    value=[],
                    multiselect=True,
                    label=words("Choose networks or folders"),
                    info=words("Type to search. A folder, such as characters/*, means all networks in it."),
                    interactive=True,
                    scale=4,
                    elem_id=elem_id("pool_list"),
                )
            )
            self._refresh = gr.Button(
                # A WebUI's page leaves texts with such a sign alone (javascript/localization.js).
                "🔄 " + server.words()("Read the folder again"),
                elem_id=elem_id("pool_refresh"),
                scale=0,
                size="sm",
                min_width=200,
            )
        self.count = HtmlBlock("", elem_id("pool_count"))

    def connect(self, text: Any) -> None:
        """``text``: the text box of the setting, which is what counts."""
        server = self._server

        def choose(chosen: object, pool: object) -> Any:
            names = [str(one) for one in chosen] if isinstance(chosen, list) else []
            return gr.update(value=with_picked(_text(pool), names, pool_choices(server.networks())))

        def follow(pool: object) -> Any:
            return gr.update(value=picked(_text(pool), pool_choices(server.networks())))

        def refresh(pool: object) -> Any:
            server.refresh()
            choices = pool_choices(server.networks())
            return gr.update(choices=choices, value=picked(_text(pool), choices))

        # Only the user's own choice writes into the box, so that the two cannot set each other in turns.
        self._list.input(choose, [self._list, text], [text], **QUIET)
        text.change(follow, [text], [self._list], **QUIET)
        self._refresh.click(refresh, [text], [self._list], **QUIET)


def count_of_pool(server: Server, pool: object) -> str:
    """How many networks a pool means, in words."""
    words = server.words()
    if not isinstance(pool, str) or not pool.strip():
        return words("The pool is empty: only the networks of the prompt take part.")
    known = server.networks()
    count = len({known[name] for name in choose_pool(pool, known)[0]})
    if count == 1:
        return words("The pool has 1 network.")
    return words("The pool has {count} networks.", count=count)


def pool_choices(known: Mapping[str, str]) -> list[str]:
    """Everything that can be picked: folders as ``folder/*`` first, then networks.

    Args:
        known: name or alias of every network → its path below the folder, without suffix, with ``/``.
    """
    paths = {PurePosixPath(path) for path in known.values()}
    folders = {_part(f"{parent}/*") for path in paths for parent in path.parents if parent.name}
    # A network's name where that means it, as users know it; else its path.
    networks = {
        path.name if known.get(path.name) == str(path) and path.name == _part(path.name) else _part(str(path))
        for path in paths
    }
    return [part for some in (folders, networks) for part in sorted(some, key=str.casefold)]


def picked(pool: str, choices: Iterable[str]) -> list[str]:
    """The parts of a pool's text that can be picked."""
    there = set(choices)
    return [part for part in _parts(pool) if part in there]


def with_picked(pool: str, chosen: Iterable[str], choices: Iterable[str]) -> str:
    """The pool's text with exactly ``chosen`` of the choices; what was typed by hand stays in front."""
    there = set(choices)
    typed = [part for part in _parts(pool) if part not in there]
    return ", ".join(dict.fromkeys((*typed, *chosen)))


def _parts(pool: str) -> list[str]:
    return [part.strip() for part in pool.split(",") if part.strip()]


def _part(path: str) -> str:
    shown = "".join(sign if sign.isprintable() else "?" for sign in path.translate(_SIGNS))
    # A space at either end would be lost where the text is split.
    start, end = len(shown) - len(shown.lstrip()), len(shown.rstrip())
    return "?" * start + shown[start:end] + "?" * (len(shown) - end)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
