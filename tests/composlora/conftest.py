"""A testbed of tiny random models in the real one's layout: lists, prompts, archive, base model, CLIP."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

from loratorio_lab.main import main
from tests.hosts_diffusers.pipelines import make_sd, make_vae, write_networks

COUNTS = {"character": 3, "clothing": 2, "style": 2, "background": 2, "object": 2}
PROMPTS = """
raise SystemExit("this file is read, not run")

def get_prompt(image_style):
    if image_style == 'anime':
        prompt = "fine, drawn"
        negative_prompt = "bad, ugly"
    else:
        prompt = "photo, real"
        negative_prompt = "drawing"
    return prompt, negative_prompt
"""


def lora_list(style: str) -> dict[str, list[dict[str, Any]]]:
    return {
        category: [
            {
                "id": f"{category}_{number}",
                "name": f"{category} {number}",
                "trigger": [f"{style[0]}{category[:2]}{number}", f"{category[0]}w"],
                "url": "https://example.org",
            }
            for number in range(1, count + 1)
        ]
        for category, count in COUNTS.items()
    }


def save_clip(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    words = ["<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz0123456789,"]
    words += [f"{word}</w>" for word in words[2:]]
    tokenizer = CLIPTokenizerFast(
        vocab={word: place for place, word in enumerate(words)}, merges=[], model_max_length=24
    )
    side = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = CLIPConfig(
        text_config={**side, **ids, "vocab_size": len(words), "max_position_embeddings": 24},
        vision_config={**side, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    CLIPModel(config).eval().save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Copy:
    """The user's copies, and the command that uses them."""

    root: Path

    def command(self, *more: str, clip: bool = False) -> list[str]:
        return [
            *("evaluate", "--suite", "composlora", "--base", str(self.root / "base")),
            *("--lora-dir", str(self.root / "models" / "lora"), "--out", "e", "--networks", "2"),
            *("--pictures", "3", "--steps", "2", "--width", "16", "--height", "16", "--quiet"),
            *(("--clip", str(self.root / "clip")) if clip else ()),
            *more,
        ]

    def run(self, *more: str, clip: bool = False, tools: Any = None) -> int:
        return main(self.command(*more, clip=clip), tools)

    def list_file(self, style: str = "anime") -> Path:
        return self.root / f"{style}_lora_info.json"

    def edit(self, change: Callable[[Any], None]) -> None:
        value = json.loads(self.list_file().read_text())
        change(value)
        self.list_file().write_text(json.dumps(value))


@pytest.fixture(scope="session")
def whole_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("testbed")
    pipeline = make_sd()
    pipeline.save_pretrained(root / "base")
    torch.manual_seed(9)
    make_vae().save_pretrained(root / "vae")
    for style in ("anime", "reality"):
        (root / f"{style}_lora_info.json").write_text(json.dumps(lora_list(style)))
        folder = root / "models" / "lora" / style
        folder.mkdir(parents=True)
        names = [f"{kind}_{number + 1}" for kind in COUNTS for number in range(COUNTS[kind])]
        write_networks(pipeline, folder, names, first_seed=len(style))
    (root / "utils.py").write_text(PROMPTS)
    save_clip(root / "clip", 7)
    save_clip(root / "clip-2", 4)
    return root


@pytest.fixture
def copy(whole_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """A copy of its own for a test to spoil."""
    root = tmp_path / "testbed"
    shutil.copytree(whole_copy, root)
    monkeypatch.chdir(tmp_path)
    return Copy(root)
