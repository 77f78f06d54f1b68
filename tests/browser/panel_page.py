"""Panel and inspector as in a WebUI's page: txt2img and img2img side by side, with a server that stands in.

Run by the tests with each gradio: python tests/browser/panel_page.py; prints the page's address.
"""

from __future__ import annotations

import importlib.util
import inspect
import socket
import threading
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from loratorio_ext.server.history import FinishedRun, History, PassRecord, picture_record
from loratorio_ext.server.options import Options
from loratorio_ext.server.presets import Presets
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.tab import build_inspector
from loratorio_ext.ui.page.controls import accordion_with_box
from loratorio_ext.ui.panel.build import build_panel
from loratorio_ext.ui.panel.cost import PageInputs

ROOT = Path(__file__).resolve().parents[2]
KNOWN = MappingProxyType({"cat": "animals/cat", "fox": "animals/fox", "night": "night"})


def made_by_tests() -> ModuleType:
    """What tests/ui makes reports with."""
    specification = importlib.util.spec_from_file_location("ui_conftest", ROOT / "tests/ui/conftest.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    # dataclasses look their module up.
    __import__("sys").modules["ui_conftest"] = module
    specification.loader.exec_module(module)
    return module


def a_run() -> FinishedRun:
    made = made_by_tests()
    steps = [made.step(index, made.halves(1 - index / 20)) for index in range(8)]
    report = made.report_of(["cat", "night"], steps)
    image = Image.new("RGB", (256, 256), (90, 130, 170))
    ImageDraw.Draw(image).ellipse((40, 60, 150, 200), fill=(220, 160, 60))
    return FinishedRun(
        "a cat at night <lora:cat:1> <lora:night:1>",
        "",
        (picture_record(image, 0, 0, 7),),
        (PassRecord(0, False, report),),
    )


def server() -> Server:
    history = History(lambda: (4, 2**28))
    history.add(a_run())
    return Server(
        host="stand-in",
        version="",
        history=history,
        presets=Presets(None),
        networks=lambda: KNOWN,
        refresh=lambda: None,
        options=Options,
        words=Words,
        obstacle=lambda: None,
        merged_on_top=False,
    )


def build(one: Server, **look: Any) -> gr.Blocks:
    with gr.Blocks(title="Panel and inspector", **look) as blocks, gr.Tabs():
        for tab in ("txt2img", "img2img"):
            with gr.Tab(tab):
                prompt = gr.Textbox(label=f"Prompt of {tab}", lines=2, elem_id=f"{tab}_prompt")
                steps = gr.Slider(1, 150, value=20, step=1, label=f"Steps of {tab}", elem_id=f"{tab}_steps")
                build_panel(
                    partial(accordion_with_box, words=Words()),
                    lambda item, tab=tab: f"script_{tab}_loratorio_{item}",  # type: ignore[misc]
                    one,
                    PageInputs(prompt=prompt, steps=steps),
                )
        with gr.Tab("Inspector"):
            build_inspector(one)
    return blocks


def free_port() -> int:
    """gradio's own choice begins at 7860, where a WebUI would be."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    script = f"<script>{(ROOT / 'javascript' / 'loratorio.js').read_text('utf-8')}</script>"
    options: dict[str, Any] = {"server_name": "127.0.0.1", "prevent_thread_lock": True, "quiet": True}
    options["server_port"] = free_port()
    launch = inspect.signature(gr.Blocks.launch).parameters
    look: dict[str, Any] = {}
    if "head" in launch:
        options["head"] = script
    elif "head" in inspect.signature(gr.Blocks.__init__).parameters:
        look["head"] = script
    options |= {"ssr_mode": False} if "ssr_mode" in launch else {}
    _, url, _ = build(server(), **look).launch(**options)
    print(url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
