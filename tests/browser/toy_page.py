"""The page without a WebUI over a painter that needs no model, for a gradio that no diffusers goes with.

Run by the tests: python tests/browser/toy_page.py; prints the page's address.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from types import MappingProxyType

from PIL import Image

from loratorio_ext.run import NetworkUse, Report
from loratorio_ext.server.history import History
from loratorio_ext.server.options import Options
from loratorio_ext.server.presets import Presets
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.page.generator import Drawn, Facts, Job
from loratorio_ext.ui.page.page import Address, serve_page

KNOWN = MappingProxyType({"cat": "animals/cat", "night": "night"})


class Toy:
    """Paints the seed as a color."""

    facts = Facts("toy", ("Euler", "DDIM"), 10, 4.0, (64, 64), 8, ("a cat <lora:cat:1>",))

    def draw(self, job: Job, seed: int, on_step: Callable[[int, int], None]) -> Drawn:
        for step in range(job.steps):
            time.sleep(0.05)
            on_step(step + 1, job.steps)
        color = (seed * 37 % 256, seed * 91 % 256, seed * 53 % 256)
        report = Report(job.settings, [NetworkUse("cat", 1.0)], "loratorio", 5, "toy")
        infotext = f"{job.prompt}\nSteps: {job.steps}, CFG scale: {job.cfg:g}, Seed: {seed}, Sampler: Euler"
        if job.settings.enabled:
            infotext += f", {job.settings.to_infotext()}"
        return Drawn(Image.new("RGB", (job.width, job.height), color), seed, infotext, report)


def main() -> None:
    server = Server(
        host="toy",
        version="",
        history=History(lambda: (4, 2**28)),
        presets=Presets(None),
        networks=lambda: KNOWN,
        refresh=lambda: None,
        options=Options,
        words=Words,
        obstacle=lambda: None,
        merged_on_top=False,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    serve_page(server, Toy(), Address("127.0.0.1", port), lambda url: print(url, flush=True))


if __name__ == "__main__":
    main()
