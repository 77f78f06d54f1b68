"""Runs of the page: one at a time, each picture on its own, so that a stop keeps what is finished."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

from loratorio_ext.server.history import FinishedRun, History, PassRecord, picture_record
from loratorio_ext.ui.page.generator import Drawn, Generator, Job

MOST_TICKETS: Final = 1000
"""Runs that may wait at once; whoever can reach the page can ask for any number."""


@dataclass(frozen=True)
class Progress:
    """Where a run is: picture of pictures (from 1), step of steps (0: it begins)."""

    picture: int
    pictures: int
    step: int
    steps: int


@dataclass(frozen=True)
class Finished:
    """The end of a run.

    Attributes:
        drawn: the finished pictures.
        stopped: where it was when it was stopped; None: it was not.
        notes: what the user should know, each sentence once.
    """

    drawn: tuple[Drawn, ...]
    stopped: Progress | None
    notes: tuple[str, ...]


class Ticket:
    """A run that a session has asked for: waiting, then running, then over."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        self.stop = threading.Event()
        self.begun = False


class _StoppedError(Exception):
    """The user has stopped the run."""


class Runs:
    """All runs of a page; for several threads at once."""

    def __init__(self, generator: Generator, history: History) -> None:
        """``history`` is given every run that finished a picture."""
        self._generator = generator
        self._history = history
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._tickets: dict[str, Ticket] = {}

    def ask(self, session: str) -> str | None:
        """A session wants a run: its ticket's name; None where one of its runs goes on already.

        A run that it asked for before and that has not begun is forgotten.
        """
        with self._lock:
            before = self._tickets.get(session)
            if before is not None and before.begun:
                return None
            self._tickets.pop(session, None)
            if len(self._tickets) >= MOST_TICKETS:
                waiting = (one for one, ticket in self._tickets.items() if not ticket.begun)
                self._tickets.pop(next(waiting), None)
            ticket = self._tickets[session] = Ticket()
            return ticket.name

    def stop(self, session: str) -> bool:
        """Stop a session's run at its next step, or before it begins; False where there is none."""
        with self._lock:
            ticket = self._tickets.get(session)
        if ticket is not None:
            ticket.stop.set()
        return ticket is not None

    def begin(self, session: str, name: object) -> Ticket | None:
        """The run that a session asked for under this name, once; None where there is none to begin."""
        with self._lock:
            ticket = self._waiting(session, name)
            if ticket is not None:
                ticket.begun = True
            return ticket

    def give_up(self, session: str, name: object) -> bool:
        """Forget a run that should have begun by now; False where it has, or is over."""
        with self._lock:
            waits = self._waiting(session, name) is not None
            if waits:
                del self._tickets[session]
            return waits

    def _waiting(self, session: str, name: object) -> Ticket | None:
        ticket = self._tickets.get(session)
        return ticket if ticket is not None and ticket.name == name and not ticket.begun else None

    def end(self, session: str) -> None:
        """A session's run is over."""
        with self._lock:
            self._tickets.pop(session, None)

    def draw(self, job: Job, ticket: Ticket) -> Iterator[Progress | Finished]:
        """Draw; yields the newest state now and then, and the end at last.

        Raises what the generator raises. A caller that stops listening stops the run.
        """
        news: SimpleQueue[Progress | Finished | Exception] = SimpleQueue()

        def work() -> None:
            try:
                with self._one_at_a_time:
                    news.put(self._pictures(job, ticket, news.put))
            except Exception as error:  # noqa: BLE001 - handed to the thread that listens
                news.put(error)

        worker = threading.Thread(target=work, name="draw", daemon=True)
        worker.start()
        try:
            event: Progress | Finished | None = None
            while not isinstance(event, Finished):
                newest = news.get()
                while isinstance(newest, Progress) and not news.empty():
                    newest = news.get()
                if isinstance(newest, Exception):
                    raise newest
                yield (event := newest)
        finally:
            ticket.stop.set()
            worker.join()

    def _pictures(self, job: Job, ticket: Ticket, tell: Callable[[Progress], None]) -> Finished:
        drawn: list[Drawn] = []
        latest = stopped = None

        def on_step(step: int, steps: int) -> None:
            nonlocal latest
            latest = Progress(len(drawn) + 1, job.pictures, step, steps)
            if ticket.stop.is_set():
                raise _StoppedError
            tell(latest)

        try:
            for place in range(job.pictures):
                on_step(0, job.steps)
                drawn.append(self._generator.draw(job, job.seed + place, on_step))
        except _StoppedError:
            stopped = latest
        finally:
            notes = tuple(dict.fromkeys(note for one in drawn for note in one.report.warnings))
            if drawn:
                pictures = (picture_record(one.image, place, 0, one.seed) for place, one in enumerate(drawn))
                passes = (PassRecord(place, False, one.report) for place, one in enumerate(drawn))
                run = FinishedRun(job.prompt, drawn[0].infotext, tuple(pictures), tuple(passes), notes)
                self._history.add(run)
        return Finished(tuple(drawn), stopped, notes)
