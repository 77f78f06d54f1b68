"""Runs that were asked for and never began leave nothing behind."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from loratorio_ext.server.history import History
from loratorio_ext.ui.page.runs import MOST_TICKETS, Runs


@pytest.fixture
def runs() -> Runs:
    return Runs(SimpleNamespace(), History(lambda: (0, 0)))


def test_a_run_that_never_began_does_not_keep_the_next_from_beginning(runs: Runs) -> None:
    lost = runs.ask("me")
    assert runs.stop("me")
    name = runs.ask("me")
    ticket = runs.begin("me", name)
    assert ticket is not None
    assert not ticket.stop.is_set()
    assert runs.begin("me", lost) is None


def test_a_run_begins_with_the_ticket_of_its_own_click_alone(runs: Runs) -> None:
    first, second = runs.ask("me"), runs.ask("me")
    assert first is not None and second is not None and first != second
    assert runs.begin("me", first) is None
    assert runs.begin("you", second) is None
    assert runs.begin("me", second) is not None
    assert runs.ask("me") is None


def test_what_should_have_begun_is_given_up_once(runs: Runs) -> None:
    first = runs.ask("me")
    second = runs.ask("me")
    assert not runs.give_up("me", first)
    assert runs.give_up("me", second)
    assert not runs.give_up("me", second)
    assert not runs.stop("me")
    third = runs.ask("me")
    assert runs.begin("me", third) is not None
    assert not runs.give_up("me", third)
    assert runs.stop("me")


def test_the_oldest_that_wait_make_room_and_one_that_goes_on_does_not(runs: Runs) -> None:
    assert runs.begin("drawing", runs.ask("drawing")) is not None
    for place in range(2 * MOST_TICKETS):
        assert runs.ask(f"stranger {place}")
    assert len(runs._tickets) == MOST_TICKETS
    assert runs.stop("drawing")
    assert not runs.stop("stranger 0")
    assert runs.stop(f"stranger {2 * MOST_TICKETS - 1}")
