"""Opening models: folders, single files, and everything that is neither."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from loratorio_ext.hosts.diffusers_host import DiffusersHost, ModelError, Request
from loratorio_ext.hosts.diffusers_host.pipeline import pick_device, pick_dtype
from loratorio_ext.networks.files.keys import ldm_names
from tests.hosts_diffusers.pipelines import PIPELINES

SMALL = Request(["a cat"], seeds=[3], steps=2, width=16, height=16)


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_folder_gives_the_model_that_was_saved(kind: str, tmp_path: Path) -> None:
    pipeline = PIPELINES[kind]()
    pipeline.save_pretrained(tmp_path)
    host = DiffusersHost.open(tmp_path, "cpu", "float32")
    assert torch.equal(host.generate(SMALL).latents, DiffusersHost(pipeline).generate(SMALL).latents)
    assert host.default_size == (16, 16)


def autoencoder_name(name: str) -> str:
    """A key of diffusers' AutoencoderKL (two blocks) in the original layout."""
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{1 - int(m[1])}.block.{m[2]}", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{1 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    parts = {"mid_block.attentions.0": "mid.attn_1", "group_norm": "norm", "to_out.0": "proj_out"}
    parts |= {"to_q": "q", "to_k": "k", "to_v": "v"}
    parts |= {"conv_shortcut": "nin_shortcut", "conv_norm_out": "norm_out"}
    for ours, theirs in parts.items():
        name = name.replace(ours, theirs)
    return name


def write_single_file(pipeline: Any, path: Path) -> None:
    """Stable Diffusion 1.x as one file, the way it was first published."""
    names = ldm_names([name for name, _ in pipeline.unet.named_modules()])
    tensors: dict[str, torch.Tensor] = {}
    for key, value in pipeline.unet.state_dict().items():
        module, _, part = key.rpartition(".")
        tensors[f"model.diffusion_model.{names[module]}.{part}"] = value
    for key, value in pipeline.vae.state_dict().items():
        name = autoencoder_name(key)
        matrix = "attn_1" in name and value.ndim == 2
        tensors[f"first_stage_model.{name}"] = value[:, :, None, None] if matrix else value
    for key, value in pipeline.text_encoder.state_dict().items():
        tensors[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)


def test_a_single_file_with_a_configuration_at_hand(sd: Any, tmp_path: Path) -> None:
    sd.save_pretrained(tmp_path / "config")
    file = tmp_path / "one.safetensors"
    write_single_file(sd, file)
    host = DiffusersHost.open(file, "cpu", "float32", config=tmp_path / "config")
    assert torch.equal(host.generate(SMALL).latents, DiffusersHost(sd).generate(SMALL).latents)


def test_offline_no_socket_is_opened(sd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*address: object, **_: object) -> None:
        asked.append(address)
        raise OSError("no connection in this test")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    file = tmp_path / "one.safetensors"
    write_single_file(sd, file)
    with pytest.raises(ModelError, match="offline.*give `config`"):
        DiffusersHost.open(file, "cpu", "float32", offline=True)
    sd.save_pretrained(tmp_path / "config")
    DiffusersHost.open(file, "cpu", "float32", config=tmp_path / "config", offline=True)
    assert asked == []


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_dtype(dtype: Any, sd: Any, tmp_path: Path) -> None:
    sd.save_pretrained(tmp_path)
    pipeline = DiffusersHost.open(tmp_path, "cpu", dtype).pipeline
    wanted = torch.bfloat16 if dtype == "bfloat16" else dtype
    assert {pipeline.unet.dtype, pipeline.vae.dtype, pipeline.text_encoder.dtype} == {wanted}


def test_device_and_dtype_by_themselves() -> None:
    assert pick_dtype(None, torch.device("cpu")) == torch.float32
    assert pick_dtype(None, torch.device("cuda")) == torch.float16
    assert pick_device("cpu") == torch.device("cpu")
    for name in ("potato", "xpu", "meta", "cuda:99", "hpu", *([] if torch.cuda.is_available() else ["cuda"])):
        with pytest.raises(ModelError, match=name):
            pick_device(name)
    for dtype, words in (("float8", "float32"), (torch.int64, "int64")):
        with pytest.raises(ModelError, match=words):
            pick_dtype(dtype, torch.device("cpu"))


def test_what_is_not_a_model(tmp_path: Path) -> None:
    def refused(path: Path, words: str, **more: Any) -> None:
        with pytest.raises(ModelError, match=words) as caught:
            DiffusersHost.open(path, "cpu", offline=True, **more)
        assert str(path) in str(caught.value) or "configuration" in str(caught.value)

    refused(tmp_path / "nowhere", "No model")
    refused(tmp_path, "model_index.json")
    index = tmp_path / "model_index.json"
    index.write_text("{", encoding="utf-8")
    refused(tmp_path, "cannot be read")
    index.write_text(json.dumps({"_class_name": "FluxPipeline"}), encoding="utf-8")
    refused(tmp_path, "FluxPipeline")
    pickled = tmp_path / "model.ckpt"
    pickled.write_bytes(b"x")
    refused(pickled, "safetensors")
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(b"\x08" + b"\0" * 7 + b"{")
    refused(broken, "damaged")
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(320, 4, 3, 3)}, broken)
    refused(broken, "give `config`")
    refused(broken, "model_index.json", config=tmp_path / "nothing")


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("unet", ["evil_module", "UNet2DConditionModel"]),
        ("scheduler", ["diffusers.schedulers", "DDIMScheduler"]),
        ("vae", {"evil_module": 0, "AutoencoderKL": 0}),
        ("vae", "ab"),
        ("vae", ["diffusers"]),
        ("tokenizer", [None, "CLIPTokenizer"]),
        ("tokenizer", [["diffusers"], "CLIPTokenizer"]),
        ("text_encoder", ["transformers", ["CLIPTextModel"]]),
        ("_class_name", ["evil_module", "StableDiffusionPipeline"]),
        ("_class_name", None),
    ],
)
def test_a_model_cannot_bring_a_module_along(
    entry: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_module.py").write_text("open('ran', 'w').close()", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    parts = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({**parts, entry: value}), encoding="utf-8")
    with pytest.raises(ModelError, match=re.escape(str(index))) as caught:
        DiffusersHost.open(tmp_path, "cpu")
    assert entry in str(caught.value)
    save_file({"x": torch.zeros(1)}, tmp_path / "one.safetensors")
    with pytest.raises(ModelError, match=re.escape(str(index))):
        DiffusersHost.open(tmp_path / "one.safetensors", "cpu", config=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_folder_with_a_missing_or_pickled_part_is_refused(sd: Any, tmp_path: Path) -> None:
    sd.save_pretrained(tmp_path)
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        DiffusersHost.open(tmp_path, "cpu")
    weights.unlink()
    torch.save(sd.unet.state_dict(), weights.with_suffix(".bin"))
    with pytest.raises(ModelError, match="cannot be loaded"):
        DiffusersHost.open(tmp_path, "cpu")


def test_pipelines_that_are_not_text_to_image(sd: Any, sdxl: Any) -> None:
    with pytest.raises(ModelError, match="object"):
        DiffusersHost(object())
    sdxl.text_encoder = None
    with pytest.raises(ModelError, match="text_encoder"):
        DiffusersHost(sdxl)
    sd.unet.register_to_config(in_channels=9)
    with pytest.raises(ModelError, match="9 channels"):
        DiffusersHost(sd)


def test_a_name_of_the_hub_is_refused_with_a_remedy() -> None:
    with pytest.raises(ModelError, match="hub are not taken: fetch the model first"):
        DiffusersHost.open("runwayml/stable-diffusion-v1-5")
    with pytest.raises(ModelError, match=r"file\.$"):
        DiffusersHost.open("nowhere")
