"""`loratorio serve`: arguments, errors, and what the page is handed; no browser."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from loratorio_ext.cli import serve
from loratorio_ext.cli.generator import HostGenerator, own_presets
from loratorio_ext.cli.main import main
from loratorio_ext.server.history import History
from loratorio_ext.settings import Settings
from loratorio_ext.ui.page.generator import Job
from loratorio_ext.ui.page.page import build_page
from loratorio_ext.ui.page.runs import Finished, Progress, Runs, Ticket

PROMPT = "a red star <lora:star:1> <lora:moon:0.5>"


@dataclasses.dataclass
class Page:
    """What would have been served."""

    server: Any = None
    painter: Any = None
    address: Any = None


@pytest.fixture
def page(toys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Page:
    page = Page()

    def serve_page(server: Any, painter: Any, address: Any, ready: Callable[[str], None]) -> None:
        page.server, page.painter, page.address = server, painter, address
        ready(f"http://{address.host}:{address.port}/")
        raise KeyboardInterrupt

    toys.tools = dataclasses.replace(toys.tools, serve_page=serve_page)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return page


@pytest.fixture
def served(toys: Any, page: Page) -> Page:
    """The page of the embedded model, served; the run's pictures go to "kept"."""
    assert main(["serve", "--port", "0", "--out", "kept"], toys.tools) == 0
    return page


def job(**changes: Any) -> Job:
    whole = Job(PROMPT, "", 3, 4.0, "Euler", 64, 64, 5, 1, Settings(enabled=True))
    return dataclasses.replace(whole, **changes)


def test_the_page_is_served_and_ctrl_c_ends_it_well(
    toys: Any, page: Page, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--port", "0"], toys.tools) == 0
    assert capsys.readouterr().out == f"http://127.0.0.1:{page.address.port}/\n"
    assert page.address.port > 0
    assert (page.address.host, page.address.open_browser) == ("127.0.0.1", False)
    assert toys.opened == [(world / "model", None, None, True, None)]
    assert page.painter.facts.samplers == toys.host.samplers
    assert (page.painter.facts.steps, page.painter.facts.cfg) == (20, 4.0)
    assert page.painter.facts.examples


def test_a_model_of_ones_own(toys: Any, page: Page) -> None:
    Path("nets").mkdir()
    (Path("nets") / "ink.safetensors").write_bytes(b"")
    Path("model").mkdir()
    given = "--model model --lora-dir nets --device cpu --dtype float32 --offline --open --port 0"
    assert main(["serve", *given.split()], toys.tools) == 0
    assert toys.opened == [(Path("model"), "cpu", "float32", True, None)]
    assert page.address.open_browser
    assert page.server.networks() == {"ink": "ink"}
    assert page.painter.facts.examples == ()
    assert (page.painter.facts.steps, page.painter.facts.cfg) == (30, 7.0)
    (Path("nets") / "dusk.safetensors").write_bytes(b"")
    assert "dusk" not in page.server.networks()
    page.server.refresh()
    assert "dusk" in page.server.networks()


def test_a_folder_and_several_models_are_a_choice(toys: Any, page: Page) -> None:
    for name in ("all/one", "all/two", "all/other"):
        Path(name).mkdir(parents=True)
    for name in ("one", "two"):
        (Path("all") / name / "model_index.json").write_text("{}")
    for name in ("all/three.safetensors", "one"):
        Path(name).write_bytes(b"")
    assert main(["serve", "--model", "all", "--model", "one", "--port", "0"], toys.tools) == 0
    painter = page.painter
    assert painter.facts.models == ("three.safetensors", "one (2)", "two", "one (4)")
    assert painter.facts.name == "three.safetensors"
    assert [path for path, *_ in toys.opened] == [Path("all/three.safetensors")]
    runs = Runs(painter, History(lambda: (0, 0)))
    runs.choose("two")
    runs.choose("two")
    assert painter.facts.name == "two"
    assert [path for path, *_ in toys.opened] == [Path("all/three.safetensors"), Path("all/two")]
    with pytest.raises(ValueError, match="no model 'gone'"):
        runs.choose("gone")
    assert painter.facts.name == "two"


def test_a_model_that_cannot_be_opened_leaves_the_one_before(toys: Any, page: Page) -> None:
    for name in ("one", "two"):
        Path(name).mkdir()
    open_host = toys.tools.open_host

    def refusing(path: Path, *rest: Any, **more: Any) -> Any:
        if path.name == "two":
            raise ValueError("it is broken")
        return open_host(path, *rest, **more)

    toys.tools = dataclasses.replace(toys.tools, open_host=refusing)
    main(["serve", "--model", "one", "--model", "two", "--port", "0"], toys.tools)
    with pytest.raises(ValueError, match="broken"):
        page.painter.choose("two")
    assert page.painter.facts.name == "one"
    assert page.painter.draw(job(prompt="a star"), 5, lambda *at: None).seed == 5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--port", "65536"], "0 to 65535"),
        (["--port", "x"], "whole number"),
        (["--host", "no such host"], "--host"),
        (["--language", "klingon"], "--language klingon"),
        (["--model", "nowhere"], "does not exist"),
        (["--lora-dir", "nowhere"], "not a folder"),
        (["--config", "x"], "--config"),
    ],
)
def test_wrong_arguments(
    toys: Any, page: Page, wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *wrong], toys.tools) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert (page.server, toys.opened) == (None, [])


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(
    toys: Any, page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["serve", "--port", str(port)], toys.tools) == 2
    assert f"port {port}" in capsys.readouterr().err
    assert toys.opened == []


def test_everybody_may_draw_is_said(toys: Any, page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "0.0.0.0", "--port", "0", "-q"], toys.tools) == 0
    assert "no password" in capsys.readouterr().err


def test_with_a_gradio_that_is_too_old(
    toys: Any, page: Page, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve.metadata, "version", lambda name: "3.41.2")
    assert main(["serve"], toys.tools) == 2
    error = capsys.readouterr().err
    assert "3.41.2 is installed" in error
    assert "pip install -U 'loratorio[page]'" in error


def test_a_picture_is_drawn_kept_and_described(toys: Any, served: Page) -> None:
    steps: list[tuple[int, int]] = []
    drawn = served.painter.draw(job(), 5, lambda done, total, _: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert drawn.infotext.startswith(PROMPT)
    assert "Seed: 5" in drawn.infotext and "LoRAtorio enabled: True" in drawn.infotext
    with Image.open(Path("kept") / "5-loratorio.png") as kept:
        assert kept.text["parameters"] == drawn.infotext  # type: ignore[attr-defined]
    merged = served.painter.draw(job(settings=Settings()), 5, lambda *at: None)
    assert "Networks combined by: merge" in merged.infotext
    assert toys.host.requests[-1].method == "merge"


def test_img2img_and_hires_fix_are_asked_for_and_written_down(toys: Any, served: Page) -> None:
    def infotext(**changes: Any) -> str:
        return str(served.painter.draw(job(denoising_strength=0.4, **changes), 5, lambda *at: None).infotext)

    plain, picture = infotext(), Image.new("RGB", (64, 64))
    assert "Denoising" not in plain and "Hires" not in plain
    assert ", Denoising strength: 0.4," in infotext(image=picture)
    asked = toys.host.requests[-1]
    assert (asked.image, asked.denoising_strength) == (picture, 0.4)
    text = infotext(hires_scale=1.5, hires_steps=7)
    assert ", Denoising strength: 0.4, Hires upscale: 1.5, Hires steps: 7, Hires upscaler: Latent," in text
    assert "Size: 64x64" in text and "Hires steps" not in infotext(hires_scale=1.5)
    asked = toys.host.requests[-2]
    assert (asked.image, asked.hires_scale, asked.hires_steps) == (None, 1.5, 7)


def test_without_a_folder_of_networks_a_tag_is_refused(toys: Any, page: Page) -> None:
    Path("model").mkdir()
    main(["serve", "--model", "model", "--port", "0"], toys.tools)
    assert page.server.networks() == {}
    with pytest.raises(ValueError, match="--lora-dir"):
        page.painter.draw(job(), 5, lambda *at: None)


def test_presets_lie_where_the_system_keeps_such_files(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert own_presets() == tmp_path / "config" / "loratorio" / "presets.json"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert own_presets().name == "presets.json"


@pytest.fixture
def history() -> History:
    return History(lambda: (4, 2**30))


@pytest.fixture
def runs(served: Page, history: History) -> Runs:
    return Runs(served.painter, history)


def drawn(runs: Runs, wanted: Job) -> tuple[list[Any], Finished]:
    """What a run tells step by step, and its end."""
    ticket = runs.begin("me", runs.ask("me"))
    assert ticket is not None
    *news, end = runs.draw(wanted, ticket)
    assert isinstance(end, Finished)
    return news, end


def test_a_run_begins_once(runs: Runs) -> None:
    assert runs.begin("me", None) is None
    name = runs.ask("me")
    assert runs.begin("me", name) is not None
    assert runs.ask("me") is None
    assert runs.begin("me", name) is None


def test_a_run_goes_from_step_to_step_and_is_remembered(runs: Runs, history: History) -> None:
    news, end = drawn(runs, job(pictures=2))
    assert all(isinstance(one, Progress) for one in news)
    assert [one.seed for one in end.drawn] == [5, 6]
    assert end.stopped is None
    [record] = history.records()
    assert [one.seed for one in record.run.pictures] == [5, 6]
    assert len(record.run.passes) == 2
    assert record.run.infotext == end.drawn[0].infotext
    assert news[-1].sketch is not None and news[-1].sketch.size == (16, 16)
    assert not runs.stop("me")


def test_a_stop_keeps_what_is_finished(runs: Runs, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = HostGenerator.draw

    def stopping(self: Any, job: Job, seed: int, on_step: Callable[[int, int], None]) -> Any:
        def watched(done: int, total: int, sketch: Any) -> None:
            assert (seed, done) != (6, 2) or runs.stop("me")
            on_step(done, total, sketch)

        return draw(self, job, seed, watched)

    monkeypatch.setattr(HostGenerator, "draw", stopping)
    _, end = drawn(runs, job(pictures=3))
    assert [one.seed for one in end.drawn] == [5]
    assert end.stopped == Progress(2, 3, 2, 3)
    assert len(history.records()[0].run.pictures) == 1


def test_a_run_that_is_stopped_while_it_waits_draws_nothing(runs: Runs, history: History, toys: Any) -> None:
    name = runs.ask("me")
    runs.stop("me")
    ticket = runs.begin("me", name)
    assert ticket is not None
    *_, end = runs.draw(job(), ticket)
    assert isinstance(end, Finished)
    assert (end.drawn, history.records(), toys.host.requests) == ((), (), [])


def test_a_failure_comes_through_and_the_next_run_works(runs: Runs, history: History, toys: Any) -> None:
    toys.host.fail_at, toys.host.error = (2, 1), RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        drawn(runs, job(pictures=2))
    assert len(history.records()[0].run.pictures) == 1
    toys.host.error = None
    assert len(drawn(runs, job())[1].drawn) == 1


def test_a_run_goes_on_without_its_page_and_is_found_again(runs: Runs) -> None:
    ticket = runs.begin("me", runs.ask("me"))
    assert ticket is not None
    listening = runs.draw(job(pictures=2), ticket)
    next(listening)
    listening.close()  # the page is loaded again
    found, goes_on = runs.of("me")
    assert found is ticket and goes_on in (True, False)
    *_, end = found.follow()
    assert isinstance(end, Finished) and len(end.drawn) == 2
    assert runs.of("me") == (ticket, False)
    assert runs.of("you") == (None, False)
    assert runs.ask("me") is not None


def test_pictures_of_a_batch_are_there_as_each_is_done(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    tell = Ticket.tell

    def told(self: Ticket, news: Any) -> None:
        if isinstance(news, Progress):
            seen.append((news.picture, len(news.drawn)))
        tell(self, news)

    monkeypatch.setattr(Ticket, "tell", told)
    drawn(runs, job(pictures=3))
    assert sorted(set(seen)) == [(1, 0), (2, 1), (3, 2)]


def test_a_page_that_calls_itself_by_a_long_name_gets_no_run(runs: Runs) -> None:
    assert runs.ask("x" * 65) is None
    for place in range(6):
        ticket = runs.begin(f"{place}", runs.ask(f"{place}"))
        assert ticket is not None
        list(runs.draw(job(), ticket))
    assert [runs.of(f"{place}")[0] is not None for place in range(6)] == [False, False, *[True] * 4]


def test_a_page_that_asks_for_its_run_leaves_stop_to_one_that_begins_meanwhile(served: Page) -> None:
    page = {one.name: one for one in build_page(served.server, served.painter, {}).fns.values()}
    untouched = {"__type__": "update"}  # the answer may arrive after another run has begun
    assert [shown[1] for shown in page["find_again"].fn("a page")] == [untouched]
    *_, name, session = page["ask"].fn(SimpleNamespace(session_hash=""), "a page")
    kinds = [(one.value, isinstance(one, gr.Textbox)) for one in page["draw"].inputs[2:]]
    *_, end = page["draw"].fn(session, name, *(value or "" if text else value for value, text in kinds))
    assert end[1]["interactive"] is False and "1 picture in" in end[0]
    assert [shown[1] for shown in page["find_again"].fn("a page")] == [untouched, untouched]
