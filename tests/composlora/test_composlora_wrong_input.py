"""What is missing or wrong is named before any work: nothing is opened, nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loratorio_ext.hosts.diffusers_host import DiffusersHost
from loratorio_lab.main import main


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The base model must not be opened."""
    asked: list[Any] = []
    monkeypatch.setattr(DiffusersHost, "open", lambda *arguments, **more: asked.append(arguments))
    return asked


def anime(copy: Any) -> Path:
    return Path(copy.root) / "models" / "lora" / "anime"


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def without(path: str) -> Callable[[Any], None]:
    return lambda copy: remove(Path(copy.root) / path)


def damage(copy: Any) -> None:
    (copy.root / "clip" / "config.json").write_text("{")


def escape(copy: Any) -> None:
    copy.edit(lambda value: value["style"][0].update(id="../../../base/unet/x"))


MISSING: list[tuple[Callable[[Any], None], str]] = [
    (without("base"), "no base model at "),
    (without("base/model_index.json"), "model_index.json cannot be read"),
    (without("models/lora/anime/style_2.safetensors"), "missing in {anime}: style_2.safetensors. Unpack"),
    (without("models/lora/anime"), "missing in {anime}: character_1.safetensors, character_2"),
    (without("models/lora"), "character_1.safetensors"),
    (without("anime_lora_info.json"), "no anime_lora_info.json in "),
    (without("utils.py"), "give both --prefix and --negative"),
    (without("clip/model.safetensors"), "no CLIP model with model.safetensors and config.json"),
    (without("clip"), "no CLIP model with model.safetensors and"),
    (without("clip/config.json"), "no CLIP model with"),
    (damage, "cannot be opened"),
    (escape, "the id of style 1 is '../../../base/unet/x'"),
]


@pytest.mark.parametrize(("spoil", "words"), MISSING, ids=[words for _, words in MISSING])
def test_what_is_missing_is_named(
    spoil: Callable[[Any], None], words: str, copy: Any, opened: Any, capsys: Any
) -> None:
    spoil(copy)
    assert copy.run(clip=True) == 2
    assert words.format(anime=anime(copy)) in capsys.readouterr().err
    assert opened == []
    assert not Path("e").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--networks", "6"], "1 to 5"),
        (["--style", "oil"], "invalid choice"),
        (["--vae", "nowhere"], "nowhere is no autoencoder"),
        (["--testbed", "nowhere"], "no anime_lora_info.json in nowhere"),
        (["--prefix", "<lora:a:1>"], "may hold no '<'"),
        (["--temperature", "0"], "temperature"),
    ],
)
def test_wrong_options_are_refused(more: list[str], words: str, copy: Any, opened: Any, capsys: Any) -> None:
    assert copy.run(*more) == 2
    assert words in capsys.readouterr().err
    assert opened == []
    assert not Path("e").exists()


@pytest.mark.parametrize("option", ["--base", "--lora-dir"])
def test_what_must_be_given(option: str, copy: Any, capsys: Any) -> None:
    command = copy.command()
    place = command.index(option)
    assert main([*command[:place], *command[place + 2 :]]) == 2
    assert f"--suite composlora needs {option}" in capsys.readouterr().err


def test_a_base_in_one_file_needs_a_configuration(copy: Any, capsys: Any) -> None:
    weights = copy.root / "base.safetensors"
    weights.write_bytes(b"")
    assert copy.run("--base", str(weights)) == 2
    assert "give --config" in capsys.readouterr().err
