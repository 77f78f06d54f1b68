"""A client for a running WebUI; every test here is skipped without one.

Start the WebUI with ``--api`` and this extension, then set in the environment:

LORATORIO_WEBUI_URL        where it answers: http://127.0.0.1:7860
LORATORIO_WEBUI_NETWORKS   names of networks that suit its checkpoint, at least three, parted by commas;
                           else the first four of its list are taken
LORATORIO_WEBUI_AUTH       user:password of --api-auth
LORATORIO_WEBUI_SIZE       side of the pictures in pixels (64 unless told), at which the model draws something
LORATORIO_WEBUI_LEVELS     how far two pictures may be apart that differ by rounding alone (2 of 255 unless
                           told); half precision on a GPU needs more
LORATORIO_WEBUI_STEPS      steps of a picture (8 unless told); fewer, and
LORATORIO_WEBUI_EACH       how many of the networks each comparison is made with (all unless told), for a slow
                           machine
LORATORIO_WEBUI_LORA_DIR   its folder of networks, if this machine can write there: for a copied and a broken
                           file
"""

from __future__ import annotations

import base64
import io
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

PREFIX = "LORATORIO_WEBUI_"


@dataclass(frozen=True)
class Answer:
    """``pictures`` int16 [n, H, W, 3], levels of 0 to 255; ``info`` as the WebUI tells it."""

    pictures: np.ndarray
    info: dict[str, Any]

    @property
    def comments(self) -> str:
        return str(self.info["extra_generation_params"].get("LoRAtorio comments", ""))

    @property
    def infotext(self) -> str:
        return str(self.info["infotexts"][0])


@dataclass(frozen=True)
class WebUI:
    url: str
    auth: str
    size: int
    steps: int

    def call(self, path: str, body: object = None) -> Any:
        """The JSON that answers a GET request, or a POST request with this body; see `read`."""
        return json.loads(self.read(path, body))

    def read(self, path: str, body: object = None) -> bytes:
        """The answer to a GET request, or to a POST request with this body.

        Raises:
            urllib.error.HTTPError: the WebUI says no.
        """
        headers = {"Content-Type": "application/json"}
        if self.auth:
            headers["Authorization"] = "Basic " + base64.b64encode(self.auth.encode()).decode()
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=1800) as reply:
            answer: bytes = reply.read()
        return answer

    def draw(self, prompt: str, settings: object = None, **fields: Any) -> Answer:
        """One request to txt2img, or to img2img where the fields hold pictures.

        ``settings``: a dict of named settings, a list of the script's arguments, or None: not mentioned.
        """
        body = {
            "prompt": prompt,
            "seed": 42,
            "steps": self.steps,
            "width": self.size,
            "height": self.size,
            "cfg_scale": 7,
            "sampler_name": "Euler a",
            "scheduler": "Automatic",
            **fields,
        }
        if fields.get("enable_hr"):  # Forge Neo has no latent ones
            known = self.call("/sdapi/v1/latent-upscale-modes")
            body["hr_upscaler"] = known[0]["name"] if known else "None"
        if settings is not None:
            arguments = settings if isinstance(settings, list) else [settings]
            body["alwayson_scripts"] = {"LoRAtorio": {"args": arguments}}
        return self._drawn("img2img" if "init_images" in body else "txt2img", body)

    def draw_again(self, answer: Answer) -> Answer:
        """A picture by nothing but the infotext of another."""
        return self._drawn("txt2img", {"infotext": answer.infotext})

    def _drawn(self, kind: str, body: dict[str, Any]) -> Answer:
        overridden = body.get("override_settings", {})
        before = self.call("/sdapi/v1/options") if overridden else {}
        try:
            answer = self.call(f"/sdapi/v1/{kind}", body)
        finally:  # Forge keeps what a request has overridden
            if overridden:
                self.call("/sdapi/v1/options", {name: before[name] for name in overridden if name in before})
        pictures = [
            np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB"), np.int16)
            for one in answer["images"]
        ]
        # Of several pictures the WebUI makes a grid too, and puts it first.
        single = [one for one in pictures if one.shape == pictures[-1].shape]
        return Answer(np.stack(single), json.loads(answer["info"]))


def _environment(name: str, default: str = "") -> str:
    return os.environ.get(PREFIX + name, default)


@pytest.fixture(scope="session")
def webui() -> WebUI:
    url = _environment("URL")
    if not url:
        pytest.skip(f"{PREFIX}URL is not set: no running WebUI to test")
    return WebUI(
        url.rstrip("/"),
        _environment("AUTH"),
        int(_environment("SIZE", "64")),
        int(_environment("STEPS", "8")),
    )


@pytest.fixture(scope="session")
def names(webui: WebUI) -> list[str]:
    """Names of at least three networks."""
    found = [name.strip() for name in _environment("NETWORKS").split(",") if name.strip()]
    found = found or [one["name"] for one in webui.call("/sdapi/v1/loras")][:4]
    if len(found) < 3:
        pytest.skip("the WebUI has fewer than three networks")
    return found


@pytest.fixture(scope="session")
def each(names: list[str]) -> list[str]:
    """The networks that comparisons are made with."""
    return names[: int(_environment("EACH", str(len(names))))]


@pytest.fixture(scope="session")
def network_folder() -> Path:
    """The WebUI's folder of networks, to write into."""
    if not _environment("LORA_DIR"):
        pytest.skip(f"{PREFIX}LORA_DIR is not set: no folder for a copied or broken network")
    return Path(_environment("LORA_DIR"))


@pytest.fixture(scope="session")
def levels() -> int:
    """What rounding alone may change."""
    return int(_environment("LEVELS", "2"))


@pytest.fixture
def apart(record_property: Callable[[str, object], None]) -> Callable[..., int]:
    """apart(a, b, name) → the largest difference in levels; kept for pytest's --junit-xml."""

    def measure(a: Answer, b: Answer, name: str = "apart") -> int:
        assert a.pictures.shape == b.pictures.shape
        difference = np.abs(a.pictures - b.pictures)
        record_property(name, f"max {difference.max()} mean {difference.mean():.4f}")
        return int(difference.max())

    return measure


@pytest.fixture
def plain(webui: WebUI) -> Any:
    """A context: a plain picture before and after must be the same to the bit."""

    class Unchanged:
        def __enter__(self) -> None:
            self.before = webui.draw("a cat")

        def __exit__(self, *exception: object) -> None:
            if exception[0] is None:
                assert np.array_equal(self.before.pictures, webui.draw("a cat").pictures)

    return Unchanged()


@pytest.fixture
def refused(webui: WebUI) -> Callable[..., str]:
    """refused(prompt, **fields) → the text of the error that the WebUI must answer with."""

    def ask(prompt: str, settings: object = None, **fields: Any) -> str:
        with pytest.raises(urllib.error.HTTPError) as error:
            webui.draw(prompt, settings, **fields)
        assert error.value.code >= 400
        return error.value.read().decode()

    return ask
