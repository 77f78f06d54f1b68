"""Every WebUI's stand-in with the project's script in it.

A stand-in is a stack of folders in ``standins``: the WebUI's own, then what all have in common. A test that
asks for ``webui`` or ``draw`` runs on every WebUI, or on one alone in a folder whose conftest overrides
``webui_name``. A further WebUI needs a folder in ``standins``, an entry in ``STACKS``, and a contract.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import gradio  # noqa: F401 - by the script; here, so that it is not loaded under `compiled`
import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient

ROOT = Path(__file__).parents[2]
STANDINS = Path(__file__).parent / "standins"
STACKS = MappingProxyType(
    {
        "a1111": ("a1111", "common"),
        "forge": ("forge", "common"),
        "forge_neo": ("forge_neo", "forge", "common"),
        "reforge": ("reforge", "forge_neo", "forge", "common"),
        "forge_classic": ("forge_classic", "reforge", "forge_neo", "forge", "common"),
    }
)
# What the WebUIs call their folders and files, and what of the project is made anew with them.
NAMES = frozenset(path.stem for path in (*STANDINS.glob("*/*"), *STANDINS.glob("*/extensions-builtin/*/*")))
HOSTS = "loratorio_ext.hosts."
NEUTRAL = "loratorio_ext.hosts.diffusers_host"


def load(name: str, path: Path) -> ModuleType:
    """As a WebUI loads its scripts."""
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class WebUI:
    """A stand-in at work: its modules (``webui.shared``), and what tests do with any of them.

    Attributes:
        name: of the WebUI.
        folder: where its networks are.
        script: the project's, as the WebUI has loaded it.
        networks: of the WebUI's Lora extension.
        standin: the stand-in's model and networks.
    """

    load = staticmethod(load)

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.networks = importlib.import_module("networks")
        self.standin = importlib.import_module("standin")

    def __getattr__(self, name: str) -> ModuleType:
        return importlib.import_module(f"modules.{name}")

    def backend(self, name: str) -> ModuleType:
        """A module of Forge's backend."""
        return importlib.import_module(f"backend.{name}")

    @property
    def opts(self) -> Any:
        return self.shared.opts

    @property
    def server(self) -> Any:
        return self.script.LoRAtorio.server

    @property
    def model(self) -> Any:
        return self.shared.sd_model

    @property
    def called(self) -> Any:
        """What is called with rows: ``calls`` has how many each time, ``fail_at`` ends one in an error."""
        return self.standin.called(self.model)

    @property
    def unet(self) -> Any:
        return self.standin.unet(self.model)

    @property
    def encoder(self) -> Any:
        return self.standin.encoder(self.model)

    def use(self, model: Any) -> Any:
        """Another checkpoint, as if the user had chosen it; returns the one before."""
        before, self.shared.sd_model = self.model, model
        return before

    def around_calls(self, function: Callable[..., Any]) -> Callable[[], None]:
        """Have function(original, x, *others, **named) called for every call of the model.

        Returns:
            what ends this.
        """
        called = self.called
        original = called.apply_model
        called.apply_model = lambda *arguments, **named: function(original, *arguments, **named)

        def end() -> None:
            del called.apply_model

        return end

    def before_call(self, callback: Callable[[Any], None]) -> None:
        """Called with the callback's parameters before the script is."""
        self.script_callbacks.denoiser_callbacks.insert(0, callback)

    def load_script(self) -> None:
        """As when the WebUI starts; again: as "Reload UI"."""
        self.script = load("loratorio_script", ROOT / "scripts" / "loratorio.py")

    def start_app(self, **arguments: object) -> TestClient:
        """The WebUI's app after it has called its extensions; arguments: of the command line."""
        for name, value in arguments.items():
            setattr(self.shared.cmd_opts, name, value)
        app = FastAPI()
        for callback in self.script_callbacks.app_started_callbacks:
            callback(None, app)
        return TestClient(app)

    def new_script(self) -> Any:
        """As for a tab of its own."""
        return self.script.LoRAtorio()

    def new_p(self, prompts: Any, settings: Any = None, **fields: Any) -> Any:
        """What the WebUI generates from; settings: a dict, a list of the script's arguments, or None."""
        arguments = settings if isinstance(settings, list) else [] if settings is None else [settings]
        fields = {"script_args": arguments, **fields}
        if "scripts" not in fields:
            fields["scripts"] = [self.new_script()]
        return self.processing.StableDiffusionProcessingTxt2Img(prompts, **fields)

    def generate(self, p: Any) -> torch.Tensor:
        """The latents."""
        latents: torch.Tensor = self.processing.process_images(p)
        return latents


@contextmanager
def standing_in(name: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[WebUI]:
    """The WebUI of that name, without a model; its modules are forgotten in the end."""
    forget()
    for stand_in in (ROOT, *(STANDINS / part for part in reversed(STACKS[name]))):
        monkeypatch.syspath_prepend(stand_in)
        for extension in (stand_in / "extensions-builtin").glob("*"):
            monkeypatch.syspath_prepend(extension)
    yield WebUI(name, folder)
    forget()


def forget() -> None:
    """The stand-ins' modules hold state, and those of another WebUI have the same names."""
    for name in list(sys.modules):
        adapter = name.startswith(HOSTS) and not name.startswith(NEUTRAL)
        if adapter or name.partition(".")[0] in NAMES:
            del sys.modules[name]


# Forge Classic has reForge's adapter, and a few tests in a folder of its own.
@pytest.fixture(params=[name for name in STACKS if name != "forge_classic"])
def webui_name(request: pytest.FixtureRequest) -> str:
    """Of the WebUI."""
    return str(request.param)


@pytest.fixture(scope="session")
def files_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[WebUI], Path]:
    """The networks that a WebUI's stand-in has, written once."""
    written: dict[str, Path] = {}

    def find(webui: WebUI) -> Path:
        if webui.name not in written:
            folder = written[webui.name] = tmp_path_factory.mktemp(f"networks-{webui.name}")
            webui.standin.write_networks(folder, webui.model)
        return written[webui.name]

    return find


@pytest.fixture
def compiled(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that every test loads anew are compiled once for all, also where Python itself keeps none."""
    if sys.dont_write_bytecode:
        monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path_factory.getbasetemp() / "bytecode"))
        monkeypatch.setattr(sys, "dont_write_bytecode", False)


@pytest.fixture
def standin(
    webui_name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    files_of: Callable[[WebUI], Path],
    compiled: None,
) -> Iterator[WebUI]:
    """With a model and networks of all kinds, before it has loaded the project's script."""
    with standing_in(webui_name, monkeypatch, tmp_path) as webui:
        webui.use(webui.standin.new_model())
        shutil.copytree(files_of(webui), tmp_path, dirs_exist_ok=True)
        webui.shared.cmd_opts.lora_dir = str(tmp_path)
        webui.networks.list_available_networks()
        yield webui


@pytest.fixture
def webui(standin: WebUI) -> WebUI:
    """With the project's script in it too."""
    standin.load_script()
    return standin


@pytest.fixture
def draw(webui: WebUI) -> Callable[..., tuple[torch.Tensor, Any]]:
    """draw(prompt, settings=None, **fields of p) → (latents, p), always by the same script."""
    one_script = webui.new_script()

    def run(prompts: Any, settings: Any = None, **fields: Any) -> tuple[torch.Tensor, Any]:
        p = webui.new_p(prompts, settings, **{"scripts": [one_script], **fields})
        return webui.generate(p), p

    return run


@pytest.fixture
def instances(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], list[weakref.ref[Any]]]:
    """instances(class) → a list of those that are made from then on; it keeps none alive."""

    def watch(kind: Any) -> list[weakref.ref[Any]]:
        made: list[weakref.ref[Any]] = []
        original = kind.__init__

        def watched(self: Any, *arguments: Any, **named: Any) -> None:
            made.append(weakref.ref(self))
            original(self, *arguments, **named)

        monkeypatch.setattr(kind, "__init__", watched)
        return made

    return watch


@pytest.fixture
def failing_in_step(webui: WebUI, webui_name: str) -> Callable[..., None]:
    """failing_in_step(n) → once, the evaluation n (from 0) fails at the first call with networks."""
    of_networks = 2 if webui_name == "a1111" else 1  # there the base has a call of its own

    def begin(step: int, failing: int = of_networks) -> None:
        calls: list[None] = []
        now = [0]

        def call(original: Any, *arguments: Any, **named: Any) -> Any:
            if now[0] == step:
                calls.append(None)
                if len(calls) == failing:
                    raise RuntimeError("the model is broken")
            return original(*arguments, **named)

        webui.before_call(lambda params: now.__setitem__(0, params.denoiser.step))
        webui.around_calls(call)

    return begin


@pytest.fixture(scope="session")
def close() -> Callable[[torch.Tensor, torch.Tensor], bool]:
    """Whether two pictures are the same but for rounding."""
    return lambda a, b: bool(torch.allclose(a, b, rtol=1e-3, atol=2e-4))


@pytest.fixture
def as_merged(draw: Any, close: Any) -> Callable[..., tuple[torch.Tensor, Any]]:
    """as_merged(prompts, **fields of p) → (latents, p), where one network gives what merging it gives."""

    def compare(prompts: Any, **fields: Any) -> tuple[torch.Tensor, Any]:
        merged, _ = draw(prompts, **fields)
        for looks in (1, 0):  # one network's map is 1 everywhere, so placing it is merging it too
            composed, p = draw(prompts, {"recenter": 0.0, "looks": looks}, **fields)
            assert close(composed, merged)
            assert p.comments == {}
        return merged, p

    return compare


LAYOUTS: dict[str, dict[str, Any]] = {
    "AND": {"prompts": "a cat AND a red dog :0.6 <lora:te:1>"},
    "editing": {"prompts": "a [cat:dog:1] sits <lora:te:1>"},
    "long": {"prompts": "a cat with a very long list of words after it <lora:te:1>"},
    "batch": {"prompts": ["a cat <lora:te:1>", "a dog in a longer sentence of nine words <lora:te:1>"]},
    "negative": {"prompts": "a cat <lora:te:1>", "negative": "one two three four five six seven eight nine"},
    "no guidance": {"prompts": "a cat <lora:te:1>", "cfg_scale": 1.0},
    "NGMS": {"prompts": "a cat <lora:te:1>", "s_min_uncond": 5.0},
    "hires": {"prompts": "a cat <lora:te:1>", "hr_prompts": ["a dog <lora:lin:1>"]},
    "hires the same": {"prompts": "a cat <lora:te:1>", "hr_prompts": ["a cat <lora:te:1>"]},
}


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Prompts and other fields of p that lay rows and conditions out in every way."""
    return LAYOUTS[request.param]
