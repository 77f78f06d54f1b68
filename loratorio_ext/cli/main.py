"""`loratorio`: reads the command line, runs the command, turns what went wrong into a message and a code."""

from __future__ import annotations

import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Sequence

from loratorio_ext.cli import options
from loratorio_ext.cli.console import FAILED, INTERRUPTED, OK, WRONG_INPUT, Console, Interrupted, Work
from loratorio_ext.cli.tools import Tools


def main(argv: Sequence[str] | None = None, tools: Tools | None = None) -> int:
    """Run one command and return its exit code: 0, 1 (failure), 2 (wrong input) or 130 (Ctrl-C).

    Args:
        argv: the arguments without the program's name; None: those of the process.
        tools: what the commands work with; None: the real ones.
    """
    try:
        arguments = options.parser().parse_args(argv)
    except SystemExit as end:  # argparse has spoken: --help, --version, or a wrong option
        return end.code if isinstance(end.code, int) else OK
    console = Console(quiet=arguments.quiet)
    work = Work()
    try:
        return _run(arguments, tools or Tools(), console, work)
    except (KeyboardInterrupt, Interrupted) as event:
        console.error(
            f"interrupted; {event}" if isinstance(event, Interrupted) else "interrupted; nothing was kept"
        )
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except ValueError as error:
        wrong_input = not work.begun
        console.error(str(error) if wrong_input else f"failed: {error}")
        return _after(arguments, WRONG_INPUT if wrong_input else FAILED)
    except Exception as error:  # noqa: BLE001 - the last resort: one line and a code instead of a traceback
        console.error(f"failed: {type(error).__name__}: {error} (--traceback shows where)")
        return _after(arguments, FAILED)


def _after(arguments: Namespace, code: int) -> int:
    if arguments.traceback:
        traceback.print_exc()
    return code


def _run(arguments: Namespace, tools: Tools, console: Console, work: Work) -> int:
    # Each command is imported when it is asked for, because torch takes seconds.
    if arguments.command == "generate":
        from loratorio_ext.cli import generate

        return generate.run(arguments, tools, console, work)
    if arguments.command == "serve":
        from loratorio_ext.cli import serve

        return serve.run(arguments, tools, console, work)
    if arguments.command == "demo":
        from loratorio_ext.cli import demo

        return demo.run(arguments, tools, console, work)
    if arguments.command == "evaluate":
        from loratorio_ext.cli import evaluate

        return evaluate.run(arguments, tools, console, work)
    if arguments.command == "bench":
        from loratorio_ext.cli import bench

        return bench.run(arguments, tools, console, work)
    from loratorio_ext.cli import train_demo

    return train_demo.run(arguments, tools, console, work)


if __name__ == "__main__":
    sys.exit(main())
