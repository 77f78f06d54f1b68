"""How the commands speak: results on stdout, progress and messages on stderr, one line for each problem."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

OK: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2
INTERRUPTED: Final = 130

OnStep = Callable[[int, int], None]


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
    """The terminal, or what stands for it."""

    def __init__(self, *, quiet: bool, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        """`quiet` leaves out progress and notes; results and errors are always written."""
        self.quiet = quiet
        self._stdout = stdout
        self._stderr = stderr

    @property
    def stdout(self) -> TextIO:
        """Where results go."""
        return self._stdout or sys.stdout

    @property
    def stderr(self) -> TextIO:
        """Where progress and messages go."""
        return self._stderr or sys.stderr

    def result(self, text: str) -> None:
        """One line or block of what the command is for."""
        print(text, file=self.stdout, flush=True)

    def note(self, text: str) -> None:
        """What is going on; silent with --quiet."""
        if not self.quiet:
            print(text, file=self.stderr, flush=True)

    def warn(self, text: str) -> None:
        """What the user should know about the result, also with --quiet."""
        print(f"loratorio: warning: {text}", file=self.stderr, flush=True)

    def error(self, text: str) -> None:
        """Why the command ends, as one line."""
        print(f"loratorio: {' '.join(text.split())}", file=self.stderr, flush=True)

    @contextmanager
    def progress(self, label: str, unit: str = "step") -> Iterator[OnStep]:
        """A bar on a terminal, a line for each quarter elsewhere, nothing with --quiet."""
        if self.quiet:
            yield lambda done, total: None
        elif self.stderr.isatty():
            with _bar(label, unit, self.stderr) as on_step:
                yield on_step
        else:
            yield self._quarters(label, unit)

    def _quarters(self, label: str, unit: str) -> OnStep:
        told = 0

        def on_step(done: int, total: int) -> None:
            nonlocal told
            quarter = 4 * done // max(total, 1)
            if quarter > told:
                told = quarter
                self.note(f"{label}: {unit} {done} of {total}")

        return on_step


@contextmanager
def _bar(label: str, unit: str, stream: TextIO) -> Iterator[OnStep]:
    from tqdm import tqdm

    bar: Any = tqdm(desc=label, unit=unit, file=stream, leave=True, dynamic_ncols=True)

    def on_step(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield on_step
    finally:
        bar.close()
