"""The options of `serve`. Imports no torch."""

from __future__ import annotations

from loratorio_ext.cli.option_types import Commands, add_common, add_model, whole

HOST = "127.0.0.1"
PORT = 7865


def add_serve(commands: Commands) -> None:
    """`loratorio serve`."""
    parser = commands.add_parser(
        "serve",
        help="a page for the browser: draw, and look at which network spoke where",
        description="Serve a page for the browser: a prompt, the panel, the pictures, and the inspector.\n"
        "Without --model, with the embedded model and its networks. Ctrl-C ends it.\n"
        "Needs gradio: pip install 'loratorio[page]'.",
    )
    parser.add_argument(
        "--host",
        default=HOST,
        metavar="ADDRESS",
        help=f"where browsers may come from: {HOST} is this computer alone, 0.0.0.0 everybody who reaches "
        f"it; there is no password (default {HOST})",
    )
    parser.add_argument(
        "--port", type=whole(0, 65535), default=PORT, metavar="N", help=f"0: any free one (default {PORT})"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument(
        "--language", default="en", metavar="NAME", help="of the page: en, de_DE (default en)"
    )
    parser.add_argument(
        "--out",
        default="outputs/serve",
        metavar="FOLDER",
        help="where every picture is kept (default outputs/serve)",
    )
    add_model(parser)
    add_common(parser)
