"""`loratorio-lab evaluate --suite composlora`: what is drawn is kept, what is kept is not drawn again."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request
from loratorio_lab.evaluate.composlora import suite
from loratorio_lab.evaluate.composlora.scoring import Clip
from loratorio_lab.tools import LabTools

FEW = ("--pictures", "2", "--methods", "merge", "loratorio")
ARMS = ("base", "merge", "switch", "composite", "loratorio")


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What the host was asked to draw."""
    asked: list[Request] = []
    generate = DiffusersHost.generate

    def counted(self: DiffusersHost, request: Request, on_step: Any = None) -> Any:
        asked.append(request)
        return generate(self, request, on_step)

    monkeypatch.setattr(DiffusersHost, "generate", counted)
    return asked


def pictures(out: str = "e") -> dict[str, bytes]:
    folder = Path(out, "pictures")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def lines(name: str, out: str = "e") -> list[dict[str, Any]]:
    return [json.loads(line) for path in Path(out).glob(name) for line in path.read_text().splitlines()[1:]]


def cells(out: str = "e") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path(out, "results.json").read_text())["cells"]
    return [{name: value for name, value in cell.items() if name != "seconds"} for cell in found]


def test_every_method_draws_the_same_tasks_and_is_scored(copy: Any, requests: Any, capsys: Any) -> None:
    assert copy.run(clip=True) == 0
    asked = {arm: [r for r in requests if r.method == arm] for arm in ARMS}
    tasks = [(r.prompts, r.seeds) for r in asked["base"]]
    assert len({str(task) for task in tasks}) == 3
    for arm in ARMS:
        assert [(r.prompts, r.seeds) for r in asked[arm]] == tasks
        assert {(r.sampler, r.cfg, r.negative_prompt) for r in asked[arm]} == {("DPM++ 2M", 10, "bad, ugly")}
    assert asked["merge"][0].prompts[0].startswith("fine, drawn, ach")
    assert len(pictures()) == 15
    assert len({bytes(content) for content in pictures().values()}) == 15
    found = {cell["arm"]: cell for cell in cells()}
    assert [found[arm]["ratio"] for arm in ARMS] == [1, 1, 1, 2, 1.5]
    for arm in ARMS:
        mine = [line["score"] for line in lines("scores-*.jsonl") if line["arm"] == arm]
        assert found[arm]["score"]["mean"] == pytest.approx(np.mean(mine))
        assert max(mine) > 0
    page = capsys.readouterr().out
    assert "-0.006" in page and "- transformers: " in page and "- devices: ['cpu, float32']" in page


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("moment", ["before the picture", "after the picture"])
def test_an_interrupt_loses_no_picture_and_draws_none_twice(
    at: int, moment: str, copy: Any, requests: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert copy.run(*FEW, "--out", "whole") == 0
    requests.clear()
    write, calls = suite.write_picture, iter(range(1, 100))

    def interrupted(path: Path, content: bytes) -> None:
        now = next(calls) == at
        if now and moment == "before the picture":
            raise KeyboardInterrupt
        write(path, content)
        if now:
            raise KeyboardInterrupt

    monkeypatch.setattr(suite, "write_picture", interrupted)
    assert copy.run(*FEW) == 130
    assert f"{at - 1} pictures are kept" in capsys.readouterr().err
    assert len(lines("pictures.jsonl")) == at - 1
    assert not [name for name in pictures() if name.endswith(".part")]
    monkeypatch.setattr(suite, "write_picture", write)
    assert copy.run(*FEW) == 0
    assert len(requests) == 4 + 1  # the one that was cut, again
    assert pictures() == pictures("whole")
    assert cells() == cells("whole")
    assert copy.run(*FEW) == 0
    assert len(requests) == 5


def test_a_picture_that_was_taken_away_is_drawn_again(copy: Any, requests: Any) -> None:
    assert copy.run("--methods", "merge") == 0
    before = pictures()
    Path("e/pictures", next(iter(before))).unlink()
    requests.clear()
    assert copy.run("--methods", "merge") == 0
    assert len(requests) == 1
    assert pictures() == before
    assert len(lines("pictures.jsonl")) == 3


def test_scores_come_later_without_drawing(copy: Any, requests: Any, capsys: Any) -> None:
    assert copy.run() == 0
    assert "were not scored: run the same command with --clip" in capsys.readouterr().out
    assert all(cell["score"] is cell["behind"] is None for cell in cells())
    requests.clear()
    assert copy.run(clip=True) == 0
    assert requests == []
    assert len(lines("scores-*.jsonl")) == 15
    first = cells()
    assert copy.run("--clip", str(copy.root / "clip-2")) == 0
    assert requests == []
    assert len(list(Path("e").glob("scores-*.jsonl"))) == 2
    assert cells() != first
    assert copy.run(clip=True) == 0
    assert (requests, cells()) == ([], first)
    assert len(lines("scores-*.jsonl")) == 30


def test_another_picture_has_another_score(copy: Any) -> None:
    assert copy.run("--methods", "base", clip=True) == 0
    Image.new("RGB", (16, 16), "red").save(sorted(Path("e/pictures/base").iterdir())[0])
    assert copy.run("--methods", "base", clip=True) == 0
    assert len(lines("scores-*.jsonl")) == 4


def test_a_damaged_picture_is_named(copy: Any, capsys: Any) -> None:
    assert copy.run("--methods", "base") == 0
    damaged = sorted(Path("e/pictures/base").iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:60])
    assert copy.run("--methods", "base", clip=True) == 1
    assert f"{damaged} cannot be read" in capsys.readouterr().err


def test_the_score_is_the_cosine_and_never_below_zero(copy: Any) -> None:
    clip = Clip.open(str(copy.root / "clip"))
    model = CLIPModel.from_pretrained(copy.root / "clip")
    processor = CLIPProcessor.from_pretrained(copy.root / "clip")
    random = np.random.default_rng(0)
    seen = []
    for text in ("abc, de", "q", "x x x x", "longer words, and more"):
        picture = Image.fromarray(random.integers(0, 255, (24, 20, 3)).astype(np.uint8))
        inputs = processor(text=[text], images=[picture], return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits_per_image.item()
        expected = 100 * logits / model.logit_scale.exp().item()
        seen.append(expected)
        assert clip.score(picture, text) == (pytest.approx(max(expected, 0), abs=1e-3), False)
    assert min(seen) < 0 < max(seen)
    assert clip.score(picture, "word " * 40)[1] is True


def pickled(open_drawing: Any, workers: int, note: Callable[[str], None]) -> Any:
    """Stands in for workers elsewhere: everything that goes there and back is pickled; last batch first."""

    def each(batches: Any) -> Iterator[Any]:
        draw = pickle.loads(pickle.dumps(open_drawing))()
        for batch in reversed(batches):
            yield pickle.loads(pickle.dumps(draw(pickle.loads(pickle.dumps(batch)))))

    return each


def test_workers_give_the_same_pictures(copy: Any) -> None:
    assert copy.run(clip=True) == 0
    assert copy.run("--out", "spread", "--workers", "2", clip=True, tools=LabTools(over_workers=pickled)) == 0
    assert pictures("spread") == pictures()
    assert cells("spread") == cells()


def test_batches_hold_one_combination_and_give_the_same_pictures(copy: Any, requests: Any) -> None:
    more = ("--networks", "1", "--pictures", "7", "--methods", "merge", "loratorio")
    assert copy.run(*more) == 0
    requests.clear()
    assert copy.run(*more, "--batch", "2", "--out", "batched") == 0
    assert sorted(len(r.seeds) for r in requests if r.method == "merge") == [1, 2, 2, 2]
    for name, content in pictures().items():
        one, other = (np.asarray(Image.open(f"{out}/pictures/{name}"), dtype=int) for out in ("e", "batched"))
        assert abs(one - other).max() <= 1, content


def test_the_other_style_has_its_own_words_networks_and_autoencoder(
    copy: Any, requests: Any, capsys: Any
) -> None:
    more = ("--style", "reality", "--methods", "merge", "--pictures", "1")
    assert copy.run(*more) == 0
    assert "decodes reality with stabilityai/sd-vae-ft-mse; give it with --vae" in capsys.readouterr().err
    (request,) = requests
    assert (request.prompts[0][:16], request.negative_prompt) == ("photo, real, rch", "drawing")
    assert Path(request.network_dir) == copy.root / "models" / "lora" / "reality"
    assert copy.run(*more, "--vae", str(copy.root / "vae"), "--out", "other") == 0
    assert "warning: the testbed" not in capsys.readouterr().err


def test_another_autoencoder_decodes(copy: Any) -> None:
    assert copy.run("--methods", "base") == 0
    assert copy.run("--methods", "base", "--vae", str(copy.root / "vae"), "--out", "other") == 0
    assert pictures("other").keys() == pictures().keys()
    assert all(pictures("other")[name] != pictures()[name] for name in pictures())


def test_a_network_of_another_model_is_told(copy: Any, capsys: Any) -> None:
    from safetensors.torch import save_file

    for path in (copy.root / "models" / "lora" / "anime").glob("character_*"):
        save_file({"lora_unet_other.lora_down.weight": torch.zeros(2, 4)}, path)
    assert copy.run("--methods", "merge") in (0, 1)
    assert "lora_unet_other" in capsys.readouterr().err


def test_other_settings_do_not_mix(copy: Any, capsys: Any) -> None:
    assert copy.run("--methods", "base") == 0
    assert copy.run("--methods", "base", "--cfg", "3") == 2
    assert "an evaluation with another cfg" in capsys.readouterr().err
