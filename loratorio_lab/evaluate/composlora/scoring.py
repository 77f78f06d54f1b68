"""CLIPScore of the pictures that are there."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor
from transformers.utils import cached_file

from loratorio_ext.cli.console import OnStep
from loratorio_ext.hosts.diffusers_host.pipeline import no_progress_bars
from loratorio_lab.evaluate.composlora.testbed import ComposLoraTask
from loratorio_lab.evaluate.lines import Lines

MODEL: Final = "openai/clip-vit-base-patch16"
"""The one that the testbed's scores are by."""

_WEIGHTS: Final = "model.safetensors"


class Clip:
    """A CLIP model that compares pictures with texts.

    Attributes:
        name: of its folder, or on the hub.
        digest: SHA-256 of its weights, in hexadecimal digits.
    """

    def __init__(self, name: str, digest: str, model: Any, processor: Any) -> None:
        self.name = name
        self.digest = digest
        self._model = model
        self._processor = processor

    @classmethod
    def open(cls, path: str) -> Clip:
        """Open a model on the CPU, in float32.

        Args:
            path: a folder as transformers saves it, or a name in the hub's cache on this machine.

        Raises:
            ValueError: it is not there, has no safetensors file, or is no CLIP model.
        """
        folder = Path(path)
        weights = folder / _WEIGHTS if folder.is_dir() else _cached(path)
        # Without the second one transformers would look for a long time.
        if weights is None or not weights.is_file() or not (weights.parent / "config.json").is_file():
            raise ValueError(
                f"no CLIP model with {_WEIGHTS} and config.json at {path!r}, neither as a folder nor in the "
                f"hub's cache. Get {MODEL} (with transformers: CLIPModel and CLIPProcessor, "
                f"from_pretrained({MODEL!r}) and save_pretrained(FOLDER), which writes safetensors) and give "
                "--clip FOLDER"
            )
        try:
            with no_progress_bars():
                model = CLIPModel.from_pretrained(path, local_files_only=True, use_safetensors=True)
                processor = CLIPProcessor.from_pretrained(path, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
            raise ValueError(f"the CLIP model at {path!r} cannot be opened: {error}") from error
        name = folder.resolve().name if folder.is_dir() else path
        digest = hashlib.sha256()
        with weights.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
        return cls(name, digest.hexdigest(), model.eval(), processor)

    def to(self, device: torch.device) -> Clip:
        """Move the model."""
        self._model.to(device)
        return self

    def score(self, picture: Image.Image, text: str) -> tuple[float, bool]:
        """(CLIPScore of a picture and a text, whether the text was longer than the model reads).

        CLIPScore is max(100 · cos(picture, text), 0), in 0 to 100, as in torchmetrics (Hessel et al., arXiv
        2104.08718, has 2.5 in place of 100).
        """
        longest = self._model.config.text_config.max_position_embeddings
        whole = self._processor(text=[text], return_tensors="pt")["input_ids"].shape[1]
        inputs = self._processor(
            text=[text],
            images=[picture.convert("RGB")],
            return_tensors="pt",
            truncation=True,
            max_length=longest,
        ).to(self._model.device)
        with torch.no_grad():
            outputs = self._model(**inputs)
        cosine = torch.nn.functional.cosine_similarity(outputs.image_embeds, outputs.text_embeds).item()
        return max(100.0 * cosine, 0.0), whole > longest


def _cached(name: str) -> Path | None:
    try:
        found = cached_file(name, _WEIGHTS, local_files_only=True)
    except (OSError, ValueError):  # not in the cache, or no name at all
        return None
    return None if found is None else Path(found)


@dataclass(frozen=True)
class Score:
    """What CLIP says of a picture.

    Attributes:
        arm: as the picture's.
        task: as the picture's.
        picture: SHA-256 of the PNG, in hexadecimal digits: a picture that was drawn again is another.
        score: CLIPScore, 0 to 100.
        cut: whether the caption was longer than the model reads.
    """

    arm: str
    task: str
    picture: str
    score: float
    cut: bool

    @property
    def key(self) -> tuple[str, str, str]:
        """No two scores have the same."""
        return self.arm, self.task, self.picture


def score_pictures(
    folder: Path, clip: Clip, pictures: Sequence[tuple[str, ComposLoraTask, Path]], on_picture: OnStep
) -> dict[tuple[str, str], Score]:
    """The score of every picture, by arm and task's key.

    Each is calculated once: a model's scores are kept in a file of its own.

    Args:
        folder: of that file.
        clip: the model.
        pictures: name of the arm, task and file of each.
        on_picture: called with (pictures scored, pictures in all).

    Raises:
        ValueError: a picture cannot be read.
    """
    scores: Lines[Score] = Lines(
        folder / f"scores-{clip.digest[:12]}.jsonl",
        {"clip": clip.name, "sha256": clip.digest},
        schema="loratorio.composlora.scores",
        version=1,
        record=Score,
    )
    known = {score.key: score for score in scores}
    found: dict[tuple[str, str], Score] = {}
    for done, (arm, task, path) in enumerate(pictures, 1):
        content = path.read_bytes()
        key = (arm, task.key, hashlib.sha256(content).hexdigest())
        if key not in known:
            known[key] = Score(*key, *clip.score(_read(path, content), task.caption))
            scores.add([known[key]])
        found[arm, task.key] = known[key]
        on_picture(done, len(pictures))
    return found


def _read(path: Path, content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=["PNG"])
        image.load()
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for a damaged PNG
        raise ValueError(f"{path} cannot be read ({error}); take it away, and it is drawn again") from error
    return image
