"""Runs of the page: one at a time, each picture on its own; they go on whether or not a page is looking."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from PIL import Image

from loratorio_ext.server.history import FinishedRun, History, PassRecord, picture_record
from loratorio_ext.ui.page.generator import Drawn, Generator, Job, Sketch

MOST_TICKETS: Final = 1000
"""Runs that may wait at once; whoever can reach the page can ask for any number."""
MOST_KEPT: Final = 4
"""Finished runs whose pictures a page finds again when it is loaded again."""
LONGEST_SESSION: Final = 64
"""Characters of what a page calls itself by; it is the page that makes it up."""


@dataclass(frozen=True)
class Progress:
    """Where a run is: picture of pictures (from 1), step of steps (0: it begins).

    Attributes:
        drawn: the pictures that are finished.
        sketch: a small picture of what is being drawn; None: nothing to see yet.
    """

    picture: int
    pictures: int
    step: int
    steps: int
    drawn: tuple[Drawn, ...] = field(default=(), compare=False)
    sketch: Image.Image | None = field(default=None, compare=False)


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
    """A run that a session has asked for: waiting, then running, then over. Several may follow it.

    Attributes:
        seconds: how long it took, from its beginning on, waiting for others included.
    """

    def __init__(self, session: str) -> None:
        self.session = session
        self.name = secrets.token_hex(8)
        self.stop = threading.Event()
        self.begun = False
        self.seconds = 0.0
        self._changed = threading.Condition()
        self._count = 0
        self._newest: Progress | Finished | Exception | None = None

    def tell(self, news: Progress | Finished | Exception) -> None:
        """What is the case from now on."""
        with self._changed:
            self._newest, self._count = news, self._count + 1
            self._changed.notify_all()

    def follow(self) -> Iterator[Progress | Finished]:
        """The newest state now and then, and the end at last; raises what the run has failed with."""
        seen, newest = 0, None
        while not isinstance(newest, Finished):
            with self._changed:
                self._changed.wait_for(lambda: self._count > seen)  # noqa: B023 - asked here and now
                seen, newest = self._count, self._newest
            if isinstance(newest, Exception):
                raise newest
            if newest is not None:
                yield newest


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
        self._over: dict[str, Ticket] = {}

    def ask(self, session: str) -> str | None:
        """A session wants a run: its ticket's name; None where one of its runs goes on already.

        A run that it asked for before and that has not begun is forgotten.
        """
        with self._lock:
            before = self._tickets.get(session)
            if len(session) > LONGEST_SESSION or (before is not None and before.begun):
                return None
            self._tickets.pop(session, None)
            if len(self._tickets) >= MOST_TICKETS:
                waiting = (one for one, ticket in self._tickets.items() if not ticket.begun)
                self._tickets.pop(next(waiting), None)
            ticket = self._tickets[session] = Ticket(session)
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

    def of(self, session: str) -> tuple[Ticket | None, bool]:
        """(a session's run that has begun, or else the last one that is over; whether it goes on)."""
        with self._lock:
            ticket = self._tickets.get(session)
            if ticket is not None and ticket.begun:
                return ticket, True
            return self._over.get(session), False

    def choose(self, model: str) -> None:
        """Let another model draw, after the runs that have begun; see `Generator.choose`."""
        with self._one_at_a_time:
            self._generator.choose(model)

    def draw(self, job: Job, ticket: Ticket) -> Iterator[Progress | Finished]:
        """Draw; yields the newest state now and then, and the end at last.

        Raises what the generator raises. The run goes on when nobody listens, as when a page is loaded again.
        """

        def work() -> None:
            begun = time.monotonic()
            try:
                with self._one_at_a_time:
                    end: Finished | Exception = self._pictures(job, ticket)
            except Exception as error:  # noqa: BLE001 - handed to the threads that listen
                end = error
            ticket.seconds = time.monotonic() - begun
            with self._lock:
                self._tickets.pop(ticket.session, None)
                if isinstance(end, Finished) and end.drawn:
                    self._over.pop(ticket.session, None)
                    self._over[ticket.session] = ticket
                    for oldest in list(self._over)[:-MOST_KEPT]:
                        del self._over[oldest]
            ticket.tell(end)

        threading.Thread(target=work, name="draw", daemon=True).start()
        yield from ticket.follow()

    def _pictures(self, job: Job, ticket: Ticket) -> Finished:
        drawn: list[Drawn] = []
        latest = stopped = None

        def on_step(step: int, steps: int, sketch: Sketch | None = None) -> None:
            nonlocal latest
            if ticket.stop.is_set():
                latest = Progress(len(drawn) + 1, job.pictures, step, steps)
                raise _StoppedError
            seen = None if sketch is None else sketch()
            latest = Progress(len(drawn) + 1, job.pictures, step, steps, tuple(drawn), seen)
            ticket.tell(latest)

        try:
            for place in range(job.pictures):
                on_step(0, job.steps)
                drawn.append(self._generator.draw(job, job.seed + place, on_step))
        except _StoppedError:
            stopped = latest
        finally:
            passes = tuple(
                PassRecord(place, one is picture.hires_report, one)
                for place, picture in enumerate(drawn)
                for one in (picture.report, picture.hires_report)
                if one is not None
            )
            notes = tuple(dict.fromkeys(note for one in passes for note in one.report.warnings))
            if drawn:
                pictures = (picture_record(one.image, place, 0, one.seed) for place, one in enumerate(drawn))
                run = FinishedRun(job.prompt, drawn[0].infotext, tuple(pictures), passes, notes)
                self._history.add(run)
        return Finished(tuple(drawn), stopped, notes)
