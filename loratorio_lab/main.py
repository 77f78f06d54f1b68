"""`loratorio-lab`: make the embedded world, compare the methods, measure what they cost."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Final

from loratorio_ext import __version__
from loratorio_ext.cli.console import Console, Work, run_command
from loratorio_ext.cli.main import add_demo
from loratorio_ext.cli.option_types import EXIT_CODES, Commands, Parser, add_common, add_text, add_whole
from loratorio_ext.cli.tools import check_installed
from loratorio_lab.bench.options import add_bench
from loratorio_lab.evaluate.options import add_evaluate
from loratorio_lab.tools import LabTools

DESCRIPTION: Final = """\
The laboratory of LoRAtorio: compare the ways to combine networks, measure what
they cost, make the embedded world again."""


def main(argv: Sequence[str] | None = None, tools: LabTools | None = None) -> int:
    """Run one command and return its exit code; see `loratorio_ext.cli.console.run_command`.

    Args:
        argv: the arguments without the program's name; None: those of the process.
        tools: what the commands work with; None: the real ones.
    """

    def command(arguments: Namespace, console: Console, work: Work) -> int:
        return _run(arguments, tools or LabTools(), console, work)

    return run_command(parser(), argv, command)


def _run(arguments: Namespace, tools: LabTools, console: Console, work: Work) -> int:
    check_installed("diffusers")
    # Each command is imported when it is asked for, because torch takes seconds.
    if arguments.command == "evaluate":
        from loratorio_lab.evaluate import command as evaluate

        return evaluate.run(arguments, tools, console, work)
    if arguments.command == "bench":
        from loratorio_lab.bench import command as bench

        return bench.run(arguments, console, work)
    if arguments.command == "demo":
        from loratorio_ext.cli import demo

        return demo.run(arguments, tools, console, work)
    from loratorio_lab.world import command as train_demo

    return train_demo.run(arguments, tools, console, work)


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="loratorio-lab", description=DESCRIPTION, epilog=EXIT_CODES)
    top.add_argument("--version", action="version", version=f"loratorio-lab {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command", title="commands")
    add_evaluate(commands)
    add_bench(commands)
    add_demo(commands)
    _add_train_demo(commands)
    return top


def _add_train_demo(commands: Commands) -> None:
    parser = commands.add_parser(
        "train-demo",
        help="make the embedded model, its networks and the judge again",
        description="Draw the training pictures, train the embedded model, its networks and the judge, and\n"
        "test them. Parts that --out already holds are kept and not made again.",
    )
    add_text(parser, "--out", "FOLDER", "default outputs/world", default="outputs/world")
    text = "of everything that is random (default 1, as in demo/)"
    add_whole(parser, "--seed", 0, 2**31 - 1, text, default=1)
    add_whole(parser, "--workers", 1, 256, "processes side by side, one core each (default 2)", default=2)
    parser.add_argument("--quick", action="store_true", help="a few steps of each part, to see that it runs")
    add_common(parser)
