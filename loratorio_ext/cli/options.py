"""The options of every command. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from typing import Final

from loratorio_ext import __version__
from loratorio_ext.cli.option_types import (
    EXIT_CODES,
    SEED,
    Commands,
    Parser,
    add_common,
    add_model,
    add_settings,
    number,
    whole,
)

METHODS: Final = ("loratorio", "merge", "switch", "composite", "base")
MOVED: Final = ("evaluate", "bench", "train-demo")
"""Commands that have moved to the laboratory's command line."""

HOST: Final = "127.0.0.1"
PORT: Final = 7865

DESCRIPTION: Final = """\
Compose several LoRA networks in one picture, by the method of LoRAtorio
(arXiv 2508.11624)."""

EPILOG: Final = f"""\
{EXIT_CODES}

Measuring and training are the laboratory's, `loratorio-lab`: {", ".join(MOVED)}."""


def _add_generate(commands: Commands) -> None:
    parser = commands.add_parser(
        "generate",
        help="draw pictures from a prompt with <lora:name:strength> tags",
        description="Draw pictures from a prompt with <lora:name:strength> tags. Without --model, with the\n"
        "embedded model and its networks. The paths of the pictures are printed, one a line.",
        epilog="example:\n"
        "  loratorio generate 'a red plain star on sand with moon <lora:star:1> <lora:moon:1>' --batch 4",
    )
    parser.add_argument("prompt", help="what to draw; a tag <lora:NAME:STRENGTH> names a network")
    parser.add_argument("--negative", default="", metavar="TEXT", help="what to keep away from")
    parser.add_argument(
        "--method", choices=METHODS, default="loratorio", help="how networks are combined (default loratorio)"
    )
    parser.add_argument(
        "--switch-every",
        type=whole(1, 1000),
        default=5,
        metavar="N",
        help="steps a network has in a row with --method switch (default 5)",
    )
    add_model(parser)
    picture = parser.add_argument_group("pictures")
    picture.add_argument(
        "--seed",
        type=SEED,
        default=1,
        metavar="N",
        help="of the first picture; the next ones count on (default 1)",
    )
    picture.add_argument(
        "--batch", type=whole(1, 256), default=1, metavar="N", help="pictures drawn at once (default 1)"
    )
    picture.add_argument(
        "--count",
        type=whole(1, 10_000),
        default=1,
        metavar="N",
        help="batches, one after the other (default 1)",
    )
    picture.add_argument(
        "--steps",
        type=whole(1, 1000),
        metavar="N",
        help="steps of the sampler (default 20 for the embedded model, else 30)",
    )
    picture.add_argument(
        "--cfg",
        type=number(1, 1000),
        metavar="X",
        help="guidance scale, 1 for none (default 4 for the embedded model, else 7)",
    )
    picture.add_argument(
        "--sampler",
        metavar="NAME",
        help="Euler, Euler a, DPM++ 2M, ... or a scheduler of diffusers (default: the model's)",
    )
    picture.add_argument("--width", type=whole(8, 8192), metavar="N", help="pixels (default: the model's)")
    picture.add_argument("--height", type=whole(8, 8192), metavar="N", help="pixels (default: the model's)")
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        default="outputs/generate",
        metavar="PATH",
        help="a folder, or one .png file, which is written over (default outputs/generate)",
    )
    output.add_argument(
        "--report", metavar="FILE", help="write what happened at each step of the last batch, as JSON"
    )
    add_settings(parser)
    add_common(parser)


def _add_demo(commands: Commands) -> None:
    parser = commands.add_parser(
        "demo",
        help="show the method beside the usual ones, with maps, scores and costs",
        description="Draw one prompt with three networks by every method, with the embedded model; write a\n"
        "page with the pictures, each network's weight maps, the judge's scores and the costs;\n"
        "print the table.",
    )
    parser.add_argument("--out", default="outputs/demo", metavar="FOLDER", help="default outputs/demo")
    parser.add_argument("--seed", type=SEED, default=1, metavar="N", help="of the first picture (default 1)")
    parser.add_argument(
        "--pictures", type=whole(1, 16), default=5, metavar="N", help="pictures by each method (default 5)"
    )
    parser.add_argument(
        "--steps", type=whole(1, 200), default=20, metavar="N", help="steps of the sampler (default 20)"
    )
    parser.add_argument(
        "--cfg", type=number(1, 1000), default=4.0, metavar="X", help="guidance scale (default 4)"
    )
    add_settings(parser)
    add_common(parser)


def _add_serve(commands: Commands) -> None:
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


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="loratorio", description=DESCRIPTION, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"loratorio {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command", title="commands")
    _add_generate(commands)
    _add_serve(commands)
    _add_demo(commands)
    return top
