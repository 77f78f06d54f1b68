"""`loratorio`: draw pictures, look at them in a page, see the method beside the usual ones.

Imports no torch, so that --help answers at once.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from loratorio_ext import __version__
from loratorio_ext.cli.console import Console, Work, run_command
from loratorio_ext.cli.option_types import (
    EXIT_CODES,
    Commands,
    Parser,
    add_common,
    add_model,
    add_number,
    add_seed,
    add_settings,
    add_text,
    add_whole,
)
from loratorio_ext.cli.tools import Tools, check_installed

METHODS: Final = ("loratorio", "merge", "switch", "composite", "base")
HOST: Final = "127.0.0.1"
PORT: Final = 7865

DESCRIPTION: Final = """\
Compose several LoRA networks in one picture, by the method of LoRAtorio
(arXiv 2508.11624)."""

EPILOG: Final = f"""\
{EXIT_CODES}

Measuring and training are the laboratory's, `loratorio-lab`: evaluate, bench, train-demo."""


def main(argv: Sequence[str] | None = None, tools: Tools | None = None) -> int:
    """Run one command and return its exit code; see `console.run_command`.

    Args:
        argv: the arguments without the program's name; None: those of the process.
        tools: what the commands work with; None: the real ones.
    """

    def command(arguments: Namespace, console: Console, work: Work) -> int:
        check_installed("diffusers", *(["page"] if arguments.command == "serve" else []))
        # The command's module is imported when it is asked for, because torch takes seconds.
        module = import_module(f"loratorio_ext.cli.{arguments.command}")
        return int(module.run(arguments, tools or Tools(), console, work))

    return run_command(parser(), argv, command)


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="loratorio", description=DESCRIPTION, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"loratorio {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command", title="commands")
    _add_generate(commands)
    _add_serve(commands)
    add_demo(commands)
    return top


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
    add_text(parser, "--negative", "TEXT", "what the pictures should not show", default="")
    text = "how networks are combined (default loratorio)"
    parser.add_argument("--method", choices=METHODS, default="loratorio", help=text)
    text = "steps in a row that each network gets with --method switch (default 5)"
    add_whole(parser, "--switch-every", 1, 1000, text, default=5)
    add_model(parser)
    picture = parser.add_argument_group("pictures")
    add_seed(picture)
    add_whole(picture, "--batch", 1, 256, "pictures drawn at once (default 1)", default=1)
    add_whole(picture, "--count", 1, 10_000, "batches, one after the other (default 1)", default=1)
    text = "steps of the sampler (default 20 for the embedded model, else 30)"
    add_whole(picture, "--steps", 1, 1000, text)
    text = "guidance scale, 1 for none (default 4 for the embedded model, else 7)"
    add_number(picture, "--cfg", 1, 1000, text)
    text = "Euler, Euler a, DPM++ 2M, ... or a scheduler of diffusers (default: the model's)"
    add_text(picture, "--sampler", "NAME", text)
    for side in ("--width", "--height"):
        add_whole(picture, side, 8, 8192, "pixels (default: the model's)")
    output = parser.add_argument_group("output")
    text = "a folder, or one .png file, which is overwritten (default outputs/generate)"
    add_text(output, "--out", "PATH", text, type=Path, default="outputs/generate")
    text = "write what happened at each step of the last batch, as JSON"
    add_text(output, "--report", "FILE", text, type=Path)
    add_settings(parser)
    add_common(parser)


def _add_serve(commands: Commands) -> None:
    parser = commands.add_parser(
        "serve",
        help="a page for the browser: draw, and look at which network spoke where",
        description="Serve a page for the browser: a prompt, the panel, the pictures, and the inspector.\n"
        "Without --model, with the embedded model and its networks. Ctrl-C ends it.\n"
        "Needs gradio: pip install 'loratorio[page]'.",
    )
    text = (
        f"who may connect: {HOST} is this computer alone, 0.0.0.0 anyone who can reach it; there is no "
        f"password (default {HOST})"
    )
    add_text(parser, "--host", "ADDRESS", text, default=HOST)
    add_whole(parser, "--port", 0, 65535, f"0 takes any free one (default {PORT})", default=PORT)
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    add_text(parser, "--language", "NAME", "of the page: en, de_DE (default en)", default="en")
    text = "where every picture is kept (default outputs/serve)"
    add_text(parser, "--out", "FOLDER", text, type=Path, default="outputs/serve")
    add_model(parser, several=True)
    add_common(parser)


def add_demo(commands: Commands) -> None:
    """The command "demo", which the laboratory has too."""
    parser = commands.add_parser(
        "demo",
        help="show the method next to the usual ones, with maps, scores and costs",
        description="Draw one prompt with three networks by every method, with the embedded model; write a\n"
        "page with the pictures, each network's weight maps, the judge's scores and the costs;\n"
        "print the table.",
    )
    add_text(parser, "--out", "FOLDER", "default outputs/demo", type=Path, default="outputs/demo")
    add_seed(parser)
    add_whole(parser, "--pictures", 1, 16, "pictures by each method (default 5)", default=5)
    add_whole(parser, "--steps", 1, 200, "steps of the sampler (default 20)", default=20)
    add_number(parser, "--cfg", 1, 1000, "guidance scale (default 4)", default=4.0)
    add_settings(parser)
    add_common(parser)
