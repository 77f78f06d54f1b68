"""`loratorio`: draw pictures, look at them in a page, see the method beside the usual ones."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

from loratorio_ext.cli import options
from loratorio_ext.cli.console import WRONG_INPUT, Console, Work, run_command
from loratorio_ext.cli.tools import Tools


def main(argv: Sequence[str] | None = None, tools: Tools | None = None) -> int:
    """Run one command and return its exit code; see `console.run_command`.

    Args:
        argv: the arguments without the program's name; None: those of the process.
        tools: what the commands work with; None: the real ones.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in options.MOVED:
        Console("loratorio", quiet=False).error(
            f"`{argv[0]}` is now `loratorio-lab {argv[0]}` "
            f"(without an installation: python -m loratorio_lab {argv[0]})"
        )
        return WRONG_INPUT

    def command(arguments: Namespace, console: Console, work: Work) -> int:
        return _run(arguments, tools or Tools(), console, work)

    return run_command(options.parser(), argv, command)


def _run(arguments: Namespace, tools: Tools, console: Console, work: Work) -> int:
    # Each command is imported when it is asked for, because torch takes seconds.
    if arguments.command == "generate":
        from loratorio_ext.cli import generate

        return generate.run(arguments, tools, console, work)
    if arguments.command == "serve":
        from loratorio_ext.cli import serve

        return serve.run(arguments, tools, console, work)
    from loratorio_ext.cli import demo

    return demo.run(arguments, tools, console, work)
