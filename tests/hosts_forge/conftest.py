from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STANDIN = (
    HERE.parent / "hosts_a1111" / "webui",
    HERE / "webui",
    HERE / "webui" / "extensions-builtin" / "sd_forge_lora",
)
WIDTH = 12
PARTS = ("shared", "processing", "script_callbacks", "scripts", "prompt_parser", "sd_models")
BACKEND = ("memory_management", "operations", "utils")


class TextEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, WIDTH)
        self.transformer = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
        self.calls = 0

    def forward(self, text: str) -> Tensor:
        """[tokens, WIDTH], the tokens a multiple of 8."""
        self.calls += 1
        words = [sum(map(ord, word)) % 499 + 1 for word in text.split()]
        words += [0] * (8 - len(words) % 8)
        encoded: Tensor = self.transformer(self.embedding(torch.tensor(words)))
        return encoded


class TinyUnet(nn.Module):
    def __init__(self, linear: Any) -> None:
        super().__init__()
        self.blocks = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=4,
        ).eval()
        for name, module in list(self.blocks.named_modules()):
            if isinstance(module, nn.Linear) and "attentions" in name:
                ours = linear(module.in_features, module.out_features, module.bias is not None)
                ours.load_state_dict(module.state_dict())
                parent, _, child = name.rpartition(".")
                setattr(self.blocks.get_submodule(parent), child, ours)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        context: Tensor,
        control: Tensor | None,
        y: Tensor | None = None,
        guidance: Tensor | None = None,
    ) -> Tensor:
        if y is not None:
            context = context + y[:, None]
        if guidance is not None:
            context = context * guidance[:, None, None]
        if control is not None:
            x = x + control
        predicted: Tensor = self.blocks(x, time, context).sample
        return predicted


class Engine:
    """As much of a checkpoint as Forge's parts of the stand-in and the project ask for."""

    def __init__(self, name: str, seed: int, kind: str = "sd") -> None:
        base = importlib.import_module("backend.diffusion_engine.base")
        patcher = importlib.import_module("backend.patcher.unet")
        torch.manual_seed(seed)
        linear = importlib.import_module("backend.operations").ForgeOperations.Linear
        self.encoder = TextEncoder()
        self.k_model = importlib.import_module("backend.modules.k_model").KModel(TinyUnet(linear))
        self.kind = kind
        self.sd_checkpoint_info = SimpleNamespace(filename=name)
        self.current_lora_hash = "[]"
        self.extra_generation_params: dict[str, str] = {}
        clip = importlib.import_module("backend.patcher.clip").CLIP(self.encoder)
        self.forge_objects = base.ForgeObjects(patcher.UnetPatcher(self.k_model), clip, None, None)
        self.forge_objects_original = self.forge_objects.shallow_copy()
        self.forge_objects_after_applying_lora = self.forge_objects.shallow_copy()

    def get_learned_conditioning(self, text: str) -> Any:
        importlib.import_module("backend.memory_management").load_model_gpu(self.forge_objects.clip.patcher)
        if "embedding" in text:
            self.extra_generation_params["TI"] = "embedding"
        encoded = self.encoder(text)
        if self.kind == "sd":
            return encoded
        conds = {"crossattn": encoded, "vector": encoded.mean(0)}
        return conds | ({"guidance": torch.tensor(3.5)} if self.kind == "flux" else {})


def low_rank(weight: Tensor, rank: int = 2, mid: bool = False) -> dict[str, Tensor]:
    out, inside, *kernel = weight.shape
    ones = [1] * len(kernel)
    parts = {
        "lora_up.weight": torch.randn(out, rank, *ones) * 0.5,
        "lora_down.weight": torch.randn(rank, inside, *(ones if mid else kernel)) / inside**0.5,
        "alpha": torch.tensor(1.0),
    }
    if mid:
        parts["lora_mid.weight"] = torch.randn(rank, rank, *kernel) * 0.3
    return parts


def tensors_of(kind: str, layer: str, module: nn.Module) -> dict[str, Tensor]:
    """A random network's tensors for one layer, or none."""
    weight: Tensor = module.weight.detach()  # type: ignore[union-attr, assignment]
    in_attention = "attentions" in layer and weight.dim() == 2
    if kind == "te" and layer.startswith("te_transformer"):
        return low_rank(weight)
    if kind in ("locon", "cp") and weight.dim() == 4:
        return low_rank(weight, mid=kind == "cp" and weight.shape[-1] == 3)
    if kind == "norm" and weight.dim() == 1 and layer.startswith("lora"):
        return {"diff": torch.randn_like(weight) * 0.2, "diff_b": torch.randn_like(weight) * 0.2}
    if not in_attention or not layer.startswith("lora"):
        return {}
    if kind == "loha":
        a, b = weight.shape
        return {
            f"hada_w{i}_{side}": torch.randn(*((a, 2) if side == "a" else (2, b))) * 0.5
            for i in (1, 2)
            for side in "ab"
        }
    if kind in ("full", "set"):
        difference = torch.randn_like(weight) * 0.1
        if kind == "set":
            return {"set_weight": weight + difference}
        bias = {} if module.bias is None else {"diff_b": torch.randn(weight.shape[0]) * 0.1}  # type: ignore[union-attr]
        return {"diff": difference, **bias}
    if kind == "sliced":
        half = weight.shape[0] // 2
        return low_rank(weight[:half]) | {"slice": torch.tensor([0, half, half])}
    parts = low_rank(weight)
    if kind == "dora":
        parts["dora_scale"] = torch.rand(weight.shape[0], 1) + 0.5
    return parts


KINDS = ("lin", "lin2", "te", "locon", "cp", "loha", "full", "norm", "dora", "sliced", "set")


@pytest.fixture
def webui(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    with running_webui(monkeypatch, tmp_path) as running:
        yield running


@contextmanager
def running_webui(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """The stand-in with a model, networks of all kinds, and the project's script in it."""
    forget()
    for folder in (*STANDIN, ROOT):
        monkeypatch.syspath_prepend(folder)
    parts: dict[str, ModuleType] = {name: importlib.import_module(f"modules.{name}") for name in PARTS}
    parts |= {name: importlib.import_module(f"backend.{name}") for name in BACKEND}
    networks = importlib.import_module("networks")
    shared, texts = parts["shared"], parts["prompt_parser"]
    texts.DictWithShape.advanced_indexing = lambda text, places: texts.DictWithShape(
        {name: part[places] for name, part in text.items()}
    )
    engine = shared.sd_model = Engine("first", 0)
    shared.cmd_opts.lora_dir = str(tmp_path)
    layers = {
        f"{prefix}_{name.replace('.', '_')}": module
        for prefix, model in (("lora", engine.k_model), ("te", engine.encoder))
        for name, module in model.named_modules()
        if hasattr(module, "weight") and not isinstance(module, nn.Embedding)
    }
    for seed, kind in enumerate(KINDS):
        torch.manual_seed(100 + seed)
        found = {
            f"{layer}.{part}": tensor.contiguous()
            for layer, module in layers.items()
            for part, tensor in tensors_of(kind, layer, module).items()
        }
        save_file(found, tmp_path / f"{kind}.safetensors")
    (tmp_path / "twin.safetensors").write_bytes((tmp_path / "lin.safetensors").read_bytes())
    (tmp_path / "broken.safetensors").write_bytes((tmp_path / "lin.safetensors").read_bytes()[:300])
    (tmp_path / "sub").mkdir()
    (tmp_path / "lin2.safetensors").rename(tmp_path / "sub" / "lin2.safetensors")
    networks.list_available_networks()
    specification = importlib.util.spec_from_file_location(
        "loratorio_script", ROOT / "scripts" / "loratorio.py"
    )
    assert specification is not None and specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    yield SimpleNamespace(**parts, networks=networks, script=script, folder=tmp_path, engine_class=Engine)
    forget()


def forget() -> None:
    """The stand-in's modules hold state, and other tests have modules of the same names."""
    for name in list(sys.modules):
        if (
            name.split(".")[0] in {"modules", "modules_forge", "backend", "networks", "network"}
            or ".hosts.forge" in name
            or name == "loratorio_ext.hosts.webuis.webui"
        ):
            del sys.modules[name]


@pytest.fixture
def draw(webui: SimpleNamespace) -> Any:
    return drawing(webui)


def drawing(webui: SimpleNamespace) -> Any:
    """draw(prompt, settings=None, **fields of p) → (latents, p)."""
    one_script = webui.script.LoRAtorio()

    def run(prompts: Any, settings: Any = None, **fields: Any) -> tuple[Tensor, Any]:
        arguments = settings if isinstance(settings, list) else [] if settings is None else [settings]
        p = webui.processing.StableDiffusionProcessingTxt2Img(
            prompts, **{"scripts": [one_script], "script_args": arguments, **fields}
        )
        return webui.processing.process_images(p), p

    return run


class Other:
    """An extension that changes the UNet's options before every sampling."""

    def __init__(self, change: Any) -> None:
        self.change = change

    def process_before_every_sampling(self, p: Any, *args: object, **kwargs: Any) -> None:
        unet = p.sd_model.forge_objects.unet.clone()
        self.change(unet)
        p.sd_model.forge_objects.unet = unet

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def both_orders(webui: SimpleNamespace, change: Any, prompt: Any, settings: Any = None) -> Any:
    """Pictures with the other extension before and after ours, and merged without ours."""
    ours, other = webui.script.LoRAtorio(), Other(change)
    pictures = []
    for scripts in ([other, ours], [ours, other], [other]):
        p = webui.processing.StableDiffusionProcessingTxt2Img(
            prompt, scripts=scripts, script_args=[settings or {"recenter": 0.0}]
        )
        pictures.append(webui.processing.process_images(p))
        assert p.comments == {}
    return pictures


@pytest.fixture
def extensions(webui: SimpleNamespace) -> SimpleNamespace:
    """Other extensions beside ours."""

    def pictures(change: Any, prompt: Any = "a cat <lora:te:1>", settings: Any = None) -> Any:
        return both_orders(webui, change, prompt, settings)

    return SimpleNamespace(Other=Other, both_orders=pictures)
