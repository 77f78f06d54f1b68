"""Sketches of what is being drawn, against the pictures that come of it, with the embedded model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request

DEMO = Path(__file__).resolve().parents[2] / "demo"


def small(image: Image.Image) -> npt.NDArray[np.float64]:
    return np.asarray(image.resize((8, 8), Image.Resampling.BOX), dtype=np.float64).ravel()


def test_the_last_sketch_looks_like_the_picture_and_changes_nothing() -> None:
    host = DiffusersHost.open(DEMO / "model")
    request = Request(["a blue plain star on grid"], steps=6, cfg=4.0, seeds=(1, 2), height=80, width=64)
    plain = host.generate(request)
    seen: list[Tensor] = []
    result = host.generate(request, None, lambda denoised: seen.append(denoised.clone()))
    assert torch.equal(result.latents, plain.latents)
    assert [tuple(one.shape[2:]) for one in seen] == [(20, 16)] * 6
    for place, picture in enumerate(result.images):
        sketch = host.sketch(seen[-1][place])
        assert sketch.size == (205, 256)
        others = result.images[1 - place]
        alike, unlike = (np.corrcoef(small(sketch), small(one))[0, 1] for one in (picture, others))
        assert alike > 0.7 and alike > unlike
    assert host.sketch(torch.full((8, 4, 4), torch.nan)).size == (256, 256)
