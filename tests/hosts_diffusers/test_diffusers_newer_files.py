"""Models that transformers 5 saved, where transformers 4 is installed or stands in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from loratorio_ext.hosts.diffusers_host import DiffusersHost
from loratorio_ext.hosts.diffusers_host.pipeline import fast_tokenizers, mend_text_encoders

MODEL = Path(__file__).resolve().parents[2] / "demo" / "model"
PARTS = {"tokenizer": ["transformers", "CLIPTokenizer"]}
WORDS = ["a blue plain star on grid with moon", "nothing it knows: été"]


class Encoder(torch.nn.Module):
    """Names its weights as transformers 4 does."""

    def __init__(self) -> None:
        super().__init__()
        self.text_model = torch.nn.Linear(2, 3)
        self.text_projection = torch.nn.Linear(3, 3)


def saved(folder: Path, encoder: Encoder, cut: str) -> None:
    (folder / "text_encoder").mkdir()
    weights = {name.removeprefix(cut): value.clone() for name, value in encoder.state_dict().items()}
    save_file(weights, folder / "text_encoder" / "model.safetensors")


@pytest.mark.parametrize("cut", ["text_model.", "nothing"])
def test_an_encoder_has_the_weights_of_its_file(cut: str, tmp_path: Path) -> None:
    first, second = Encoder(), Encoder()
    saved(tmp_path, first, cut)
    before = {name: value.clone() for name, value in second.state_dict().items()}
    mend_text_encoders(SimpleNamespace(text_encoder=second), tmp_path)
    names = [name for name in before if name.startswith("text_model.")]
    expected = first.state_dict() if cut == "text_model." else before
    assert names
    assert all(torch.equal(second.state_dict()[name], expected[name]) for name in names)


def test_a_tokenizer_in_one_file_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    host = DiffusersHost.open(MODEL)
    older = {name: file for name, file in CLIPTokenizer.vocab_files_names.items() if name != "tokenizer_file"}
    monkeypatch.setattr(CLIPTokenizer, "vocab_files_names", older)
    found = fast_tokenizers(MODEL, PARTS)
    assert list(found) == ["tokenizer"]
    options = {"padding": "max_length", "max_length": 16, "truncation": True}
    usual = host.pipeline.tokenizer
    assert found["tokenizer"](WORDS, **options).input_ids == usual(WORDS, **options).input_ids
    assert DiffusersHost.open(MODEL).pipeline.tokenizer(WORDS).input_ids == usual(WORDS).input_ids


def test_other_tokenizers_are_left_to_diffusers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CLIPTokenizer, "vocab_files_names", {"vocab_file": "vocab.json"})
    (tmp_path / "tokenizer").mkdir()
    assert fast_tokenizers(tmp_path, PARTS) == {}
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer" / "vocab.json").write_text("{}")
    assert fast_tokenizers(tmp_path, PARTS) == {}
    assert fast_tokenizers(tmp_path, {}) == {}
