"""Pages over a server that stands in; prints the page's address.

python tests/browser/pages.py panel [seconds]: txt2img, img2img and the inspector side by side, as in a
WebUI's page; every answer about the cost takes so many seconds.
python tests/browser/pages.py toy: the page without a WebUI over a painter that needs no model.
"""

from __future__ import annotations

import importlib.util
import socket
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from loratorio_ext.run import NetworkUse, Report
from loratorio_ext.server.history import FinishedRun, History, PassRecord, picture_record
from loratorio_ext.server.options import Options
from loratorio_ext.server.presets import Presets
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.gradio_tools import accepted
from loratorio_ext.ui.inspector.tab import build_inspector
from loratorio_ext.ui.page.controls import accordion_with_box
from loratorio_ext.ui.page.generator import Drawn, Facts, Job, OnStep
from loratorio_ext.ui.page.page import Address, serve_page
from loratorio_ext.ui.panel.build import build_panel
from loratorio_ext.ui.panel.cost import PageInputs

ROOT = Path(__file__).resolve().parents[2]
KNOWN = MappingProxyType({"cat": "animals/cat", "fox": "animals/fox", "night": "night"})


def made_by_tests() -> ModuleType:
    """What tests/ui makes reports with."""
    specification = importlib.util.spec_from_file_location("ui_conftest", ROOT / "tests/ui/conftest.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["ui_conftest"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def a_run() -> FinishedRun:
    made = made_by_tests()
    steps = [made.step(index, made.halves(1 - index / 20)) for index in range(8)]
    report = made.report_of(["cat", "night"], steps)
    image = Image.new("RGB", (256, 256), (90, 130, 170))
    ImageDraw.Draw(image).ellipse((40, 60, 150, 200), fill=(220, 160, 60))
    pictures = (picture_record(image, 0, 0, 7),)
    prompt = "a cat at night <lora:cat:1> <lora:night:1>"
    return FinishedRun(prompt, "", pictures, (PassRecord(0, False, report),))


def server(seconds: float = 0.0) -> Server:
    def networks() -> Mapping[str, str]:
        time.sleep(seconds)
        return KNOWN

    return Server(
        host="stand-in",
        version="",
        history=History(lambda: (4, 2**28)),
        presets=Presets(None),
        networks=networks,
        refresh=lambda: None,
        options=Options,
        words=Words,
        obstacle=lambda: None,
        merged_on_top=False,
    )


def build(one: Server, **look: Any) -> gr.Blocks:
    accordion = partial(accordion_with_box, words=Words())
    with gr.Blocks(title="Panel and inspector", **look) as blocks, gr.Tabs():
        for tab in ("txt2img", "img2img"):
            with gr.Tab(tab):
                prompt = gr.Textbox(label=f"Prompt of {tab}", lines=2, elem_id=f"{tab}_prompt")
                steps = gr.Slider(1, 150, value=20, step=1, label=f"Steps of {tab}", elem_id=f"{tab}_steps")
                elem_id = f"script_{tab}_loratorio_{{}}".format
                build_panel(accordion, elem_id, one, PageInputs(prompt=prompt, steps=steps))
        with gr.Tab("Inspector"):
            build_inspector(one)
    return blocks


class Toy:
    """Paints the seed as a color."""

    facts = Facts("toy", ("Euler", "DDIM"), 10, 4.0, (64, 64), 8, ("a cat <lora:cat:1>",))

    def choose(self, name: str) -> None:
        raise ValueError(name)

    def draw(self, job: Job, seed: int, on_step: OnStep) -> Drawn:
        for step in range(job.steps):
            time.sleep(0.05 if job.steps < 150 else 0.5)  # so many are for runs that are to be stopped
            on_step(step + 1, job.steps, lambda: Image.new("RGB", (64, 64), (90, 130, 170)))
        color = (seed * 37 % 256, seed * 91 % 256, seed * 53 % 256)
        report = Report(job.settings, [NetworkUse("cat", 1.0)], "loratorio", 5, "toy")
        infotext = f"{job.prompt}\nSteps: {job.steps}, CFG scale: {job.cfg:g}, Seed: {seed}, Sampler: Euler"
        if job.settings.enabled:
            infotext += f", {job.settings.to_infotext()}"
        return Drawn(Image.new("RGB", (job.width, job.height), color), seed, infotext, report)


def free_port() -> int:
    """gradio's own choice begins at 7860, where a WebUI would be."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve_panel(one: Server) -> None:
    one.history.add(a_run())
    head = f"<script>{(ROOT / 'javascript' / 'loratorio.js').read_text('utf-8')}</script>"
    options = accepted(
        gr.Blocks.launch,
        head=head,
        server_name="127.0.0.1",
        server_port=free_port(),
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
    )
    look = {} if "head" in options else accepted(gr.Blocks.__init__, head=head)
    _, url, _ = build(one, **look).launch(**options)
    print(url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "panel":
        serve_panel(server(float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
    else:
        serve_page(server(), Toy(), Address("127.0.0.1", free_port()), partial(print, flush=True))
