"""What a measurement is said to need, and what one takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from loratorio_lab.bench.memory import available_bytes, needed_bytes, peak_bytes
from loratorio_lab.bench.plan import Part, parts
from loratorio_lab.bench.shapes import SHAPES

CPU = torch.device("cpu")


def needed(**changes: Any) -> int:
    values: dict[str, Any] = {"latent": 64, "rows": 10, "networks": 4, "rank": 16, "layers": "linear"}
    values |= {"dtype": torch.float32, "copies": 1} | changes
    return needed_bytes(SHAPES["sd15"], **values)


def test_the_need_grows_with_what_is_asked_for() -> None:
    usual = needed()
    assert 4 * 859_520_964 < usual < 10 * 859_520_964
    assert needed(dtype=torch.float16) * 2 == usual
    for more in ({"latent": 128}, {"rows": 20}, {"networks": 8}, {"rank": 32}, {"layers": "conv"}):
        assert needed(**more) > usual
    assert needed(copies=0) < usual < needed(copies=2)


def test_what_takes_memory_is_seen_where_it_can_be() -> None:
    found = peak_bytes(lambda: torch.ones(50_000_000).sum(), CPU)
    assert found is None or 150e6 < found < 300e6
    available = available_bytes(CPU)
    assert available is None or available > 0
    assert available_bytes(torch.device("meta")) is None


def test_the_memory_of_an_unknown_device_is_enough() -> None:
    part = Part("sdxl", 128, 4, 16, "linear", 1)
    assert part.does_not_fit(torch.device("meta"), torch.float32, copies=1) is None


def test_a_latent_that_does_not_suit_is_refused() -> None:
    assert [part.latent for part in parts(["embedded", "sd15"], None, [1], [4], "linear", 1)] == [16, 64]
    with pytest.raises(ValueError, match="multiple of 8"):
        parts(["embedded", "sd15"], 20, [1], [4], "linear", 1)


def test_titles_say_what_is_not_as_usual() -> None:
    assert "(the model's own is 64)" in Part("sd15", 32, 1, 4, "conv", 2).title()
    assert Part("sd15", 64, 1, 4, "linear", 1).title() == (
        "sd15, latent 64: 1 network of rank 4 on attention blocks, 1 picture"
    )
