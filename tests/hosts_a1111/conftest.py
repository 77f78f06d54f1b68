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
STANDIN = (HERE / "webui", HERE / "webui" / "extensions-builtin" / "Lora")
WIDTH = 12


class TextEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, WIDTH)
        self.transformer = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
        self.calls = 0

    def forward(self, text: str) -> Tensor:
        """[tokens, WIDTH], the tokens a multiple of 8."""
        self.calls += 1
        embeddings = sys.modules["modules.sd_hijack"].model_hijack.embedding_db.word_embeddings
        words = [
            sum(map(ord, getattr(embeddings.get(word), "hash", word))) % 499 + 1 for word in text.split()
        ]
        words += [0] * (8 - len(words) % 8)
        encoded: Tensor = self.transformer(self.embedding(torch.tensor(words)))
        return encoded


class Model(nn.Module):
    """As much of a checkpoint as the WebUI's parts of the stand-in and the project ask for."""

    def __init__(self, name: str, seed: int, apply_weights: Any, xl: bool = False) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.model = nn.Module()
        self.model.diffusion_model = UNet2DConditionModel(
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
        self.model.conditioning_key = "crossattn"
        self.cond_stage_model = TextEncoder()
        self.cond_stage_key = "txt"
        self.cond_stage_model_empty_prompt = torch.zeros(1, 8, WIDTH)
        self.xl = xl
        self.alphas_cumprod = torch.linspace(0.999, 0.005, 1000)
        self.sd_checkpoint_info = SimpleNamespace(filename=name)
        self.calls = 0
        self.fail_at: int | None = None
        self.network_layer_mapping: dict[str, nn.Module] = {}
        for part in (self.cond_stage_model, self.model):
            for layer, module in part.named_modules():
                if not hasattr(module, "weight") or isinstance(module, nn.Embedding):
                    continue
                module.network_layer_name = layer.replace(".", "_")  # type: ignore[assignment]
                self.network_layer_mapping[layer.replace(".", "_")] = module
                module.register_forward_pre_hook(lambda layer, _: apply_weights(layer))

    def get_learned_conditioning(self, text: str) -> Any:
        encoded = self.cond_stage_model(text)
        return {"crossattn": encoded, "vector": encoded.mean(0)} if self.xl else encoded

    def apply_model(self, x: Tensor, time: Tensor, cond: dict[str, Any]) -> Tensor:
        self.calls += 1
        if self.fail_at is not None and self.calls >= self.fail_at:
            raise RuntimeError("the model is broken")
        text = cond["crossattn"] + cond["vector"][:, None] if self.xl else cond["c_crossattn"][0]
        assert len(cond["c_concat"][0]) == len(x)
        predicted: Tensor = self.model.diffusion_model(x, time, text).sample
        return predicted


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
    in_attention = "attentions" in layer and isinstance(module, nn.Linear)
    if kind == "te" and layer.startswith("transformer"):
        return low_rank(weight)
    if kind == "norm" and isinstance(module, (nn.GroupNorm, nn.LayerNorm)) and layer.startswith("diff"):
        return {"w_norm": torch.randn_like(weight) * 0.2, "b_norm": torch.randn_like(weight) * 0.2}
    if kind in ("locon", "cp") and isinstance(module, nn.Conv2d):
        return low_rank(weight, mid=kind == "cp" and weight.shape[-1] == 3)
    if not in_attention or not layer.startswith("diff"):
        return {}
    if kind == "loha":
        rank = 2
        a, b = weight.shape[0], weight.shape[1]
        return {
            f"hada_w{i}_{side}": torch.randn(*((a, rank) if side == "a" else (rank, b))) * 0.5
            for i in (1, 2)
            for side in "ab"
        }
    if kind == "ia3":
        return {"weight": torch.randn(weight.shape[1]) * 0.4}
    if kind == "full":
        difference = {"diff": torch.randn_like(weight) * 0.1}
        if module.bias is not None:  # type: ignore[union-attr]
            difference["diff_b"] = torch.randn(weight.shape[0]) * 0.1
        return difference
    parts = low_rank(weight)
    if kind == "dora":
        parts["dora_scale"] = torch.rand(1, weight.shape[1]) + 0.5
    return parts


@pytest.fixture
def webui(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    with running_webui(monkeypatch, tmp_path) as running:
        yield running


@contextmanager
def running_webui(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """The stand-in with a model, networks of all kinds, and the project's script in it."""
    before = set(sys.modules)
    for folder in (*STANDIN, ROOT):
        monkeypatch.syspath_prepend(folder)
    parts: dict[str, ModuleType] = {
        name: importlib.import_module(f"modules.{name}")
        for name in (
            "shared",
            "processing",
            "script_callbacks",
            "scripts",
            "sd_unet",
            "prompt_parser",
            "sd_hijack",
            "sd_samplers_timesteps",
        )
    }
    networks = importlib.import_module("networks")
    shared = parts["shared"]
    shared.sd_model = Model("first", 0, networks.network_apply_weights)
    shared.cmd_opts.lora_dir = str(tmp_path)
    for seed, kind in enumerate(("lin", "lin2", "te", "locon", "cp", "loha", "ia3", "full", "norm", "dora")):
        torch.manual_seed(100 + seed)
        found = {
            f"{layer}.{part}": tensor.contiguous()
            for layer, module in shared.sd_model.network_layer_mapping.items()
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
    yield SimpleNamespace(**parts, networks=networks, script=script, folder=tmp_path, model_class=Model)
    for name in set(sys.modules) - before:
        if (
            name.split(".")[0] in {"modules", "networks", "network"}
            or ".hosts.a1111" in name
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
