"""How the commands speak: results on stdout, progress and messages on stderr, one line for each problem."""

from __future__ import annotations

import os
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

OK: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2
INTERRUPTED: Final = 130

OnStep = Callable[[int, int], None]
"""Called with (done, in all)."""


class InputError(ValueError):
    """Something the user gave cannot be; the message names the value, what is allowed and the remedy."""


class Interrupted(Exception):  # noqa: N818 - an event, not a mistake
    """Ctrl-C arrived; the message says what was kept."""


class Work:
    """Remembers whether work has begun: a ValueError before that is wrong input, after it a failure."""

    def __init__(self) -> None:
        self.begun = False

    def watch(self, on_step: OnStep) -> OnStep:
        """`on_step` that also notes that work has begun."""

        def noted(done: int, total: int) -> None:
            self.begun = True
            on_step(done, total)

        return noted


class Console:
    """The terminal."""

    def __init__(self, program: str, *, quiet: bool) -> None:
        """`program` begins warnings and errors; `quiet` leaves out progress and notes, but nothing else."""
        self.program = program
        self.quiet = quiet

    def result(self, text: str) -> None:
        """One line or block of what the command is for."""
        print(text, flush=True)

    def note(self, text: str) -> None:
        """What is going on; silent with --quiet."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """What the user should know about the result, also with --quiet."""
        print(f"{self.program}: warning: {text}", file=sys.stderr, flush=True)

    def error(self, text: str) -> None:
        """Why the command ends, as one line."""
        print(f"{self.program}: {' '.join(text.split())}", file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, label: str, unit: str = "step") -> Iterator[OnStep]:
        """A bar on a terminal, a line for each quarter elsewhere, nothing with --quiet."""
        if not self.quiet and sys.stderr.isatty():
            from tqdm import tqdm

            with tqdm(desc=label, unit=unit, file=sys.stderr, dynamic_ncols=True) as bar:

                def on_step(done: int, total: int) -> None:
                    bar.total = total
                    bar.update(done - bar.n)

                yield on_step
            return
        told = 0

        def on_quarter(done: int, total: int) -> None:
            nonlocal told
            quarter = 4 * done // max(total, 1)
            if quarter > told:
                told = quarter
                self.note(f"{label}: {unit} {done} of {total}")

        yield on_quarter


def run_command(
    parser: ArgumentParser,
    argv: Sequence[str] | None,
    command: Callable[[Namespace, Console, Work], int],
) -> int:
    """Read the command line, run the command, and turn what goes wrong into one line and an exit code.

    Args:
        parser: of all commands; its options hold `option_types.add_common`.
        argv: the arguments without the program's name; None: those of the process.
        command: does the work and returns the exit code.

    Returns:
        the exit code: 0, 1 (failure), 2 (wrong input) or 130 (Ctrl-C).
    """
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as end:  # argparse has spoken: --help, --version, or a wrong option
        return end.code if isinstance(end.code, int) else OK
    console, work = Console(parser.prog, quiet=arguments.quiet), Work()

    def ended(message: str, code: int) -> int:
        console.error(message)
        if arguments.traceback:
            traceback.print_exc()
        return code

    try:
        return command(arguments, console, work)
    except (KeyboardInterrupt, Interrupted) as event:
        kept = str(event) if isinstance(event, Interrupted) else "nothing was kept"
        console.error(f"interrupted; {kept}")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except ValueError as error:
        return ended(f"failed: {error}", FAILED) if work.begun else ended(str(error), WRONG_INPUT)
    except Exception as error:  # noqa: BLE001 - the last resort: one line and a code instead of a traceback
        return ended(f"failed: {type(error).__name__}: {error} (--traceback shows where)", FAILED)
