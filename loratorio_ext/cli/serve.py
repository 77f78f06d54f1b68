"""A page for the browser, over the diffusers host."""

from __future__ import annotations

import os
import socket
from argparse import Namespace
from importlib import metadata
from typing import TYPE_CHECKING, Final

from loratorio_ext.cli.console import OK, Console, InputError, Work
from loratorio_ext.cli.tools import Tools, choose_models
from loratorio_ext.cli.writing import prepare_folder

if TYPE_CHECKING:
    from loratorio_ext.server.words import Words

GRADIO_MINIMUM: Final = (4, 40)
ENGLISH: Final = frozenset({"en", "english", "none"})
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def run(arguments: Namespace, tools: Tools, console: Console, work: Work) -> int:
    """`loratorio serve`: the page's address on stdout; ends with Ctrl-C."""
    _check_gradio()
    words = _spoken(arguments.language)
    models = choose_models(arguments, tools)
    out = prepare_folder(arguments.out)
    port = _free_port(arguments.host, arguments.port)
    if arguments.host not in LOOPBACK:
        console.warn(f"anyone who can reach {arguments.host} can draw here; there is no password")
    console.note(f"opening {models[0].path} ...")
    from loratorio_ext.cli.generator import HostGenerator, page_server
    from loratorio_ext.ui.page.page import Address

    generator = HostGenerator(models, lambda one: one.open(arguments, tools), out, words)
    server = page_server(models[0].networks, words)
    work.begun = True
    try:
        tools.serve_page(server, generator, Address(arguments.host, port, arguments.open), console.result)
    except KeyboardInterrupt:
        console.note("ended")
    return OK


def _check_gradio() -> None:
    version = metadata.version("gradio")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < GRADIO_MINIMUM:
        needed = ".".join(str(part) for part in GRADIO_MINIMUM)
        raise InputError(
            f"the page needs gradio {needed} or newer, and {version} is installed. Update it with: "
            "pip install -U 'loratorio[page]' (in a checkout: pip install -U -e '.[page]')."
        )
    # Nobody is told that a page was opened here; a variable that the user has set stays.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


def _spoken(language: str) -> Words:
    from loratorio_ext.server.words import Words, language_files, words_in

    if language.casefold() in ENGLISH:
        return Words()
    known = language_files()
    if language not in known:
        raise InputError(f"--language {language} is not known; give one of {', '.join(['en', *known])}.")
    return words_in(language)


def _free_port(host: str, port: int) -> int:
    """``port``, or for 0 one that is free; asked before the model is loaded, which takes long."""
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot listen at {host}, port {port}: {reason}. Name another place with --host and --port."
        ) from error
