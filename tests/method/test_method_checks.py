"""What is refused, before any work, and in which words."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from loratorio_ext.method import RowMap
from tests.method import cases


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("patch_size", [0, -1, 1.5, 2.0, True, "2", None], "1 or more"),
        ("top_k", [-1, 0.5, False, None], "0 or more"),
        ("temperature", [0, 0.0, -1, math.nan, math.inf, True, "0.1", None], "above 0"),
        ("recenter", [-0.1, 1.1, math.nan, math.inf, True, "0.5", None], "from 0 to 1"),
        ("top_k_scope", ["row", "", None, 1], '"image" or "patch"'),
        ("weighting", ["paper", "", None, 1], '"difference" or "relative"'),
        ("gain", [-0.1, 1.1, math.nan, math.inf, True, "1", None], "from 0"),
    ],
)
def test_settings_out_of_range(name: str, values: list[Any], allowed: str) -> None:
    for value in values:
        with pytest.raises(ValueError, match=allowed) as raised:
            cases.make(0, **{name: value}).run()
        assert str(raised.value).startswith(f"{name} is {value!r}; give ")


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_cond": zeros(4, 6, 8)}, r"base_cond has shape \(4, 6, 8\); give \[B, C, H, W\]"),
        ({"base_cond": zeros(0, 4, 6, 8)}, "base_cond has shape .* without empty dims"),
        ({"base_cond": zeros(2, 4, 6, 8, dtype=torch.int64)}, "base_cond has dtype torch.int64; give one of"),
        ({"base_cond": zeros(2, 4, 6, 8, dtype=torch.complex64)}, "base_cond has dtype torch.complex64"),
        ({"network_conds": zeros(2, 4, 6, 8)}, r"network_conds has shape .* give \[N, B, C, H, W\]"),
        ({"network_conds": zeros(0, 2, 4, 6, 8)}, "at least one network"),
        ({"network_conds": zeros(3, 2, 4, 6, 7)}, r"network_conds has shape .* asks for \(3, 2, 4, 6, 8\)"),
        (
            {"network_conds": zeros(3, 2, 4, 6, 8, dtype=torch.float64)},
            "network_conds is torch.float64 on cpu",
        ),
        ({"network_conds": zeros(3, 2, 4, 6, 8).to("meta")}, "one dtype and device"),
        ({"base_uncond": zeros(1, 4, 6, 8)}, r"base_uncond has shape .* asks for \(2, 4, 6, 8\)"),
        ({"network_unconds": zeros(2, 2, 4, 6, 8)}, "network_unconds has shape"),
        ({"network_unconds": None}, "network_unconds is None, but recenter is 0.5"),
        ({"base_uncond": None}, "network_unconds is given without base_uncond"),
        ({"active": zeros(3)}, r"active has dtype torch.float32 .* give bool \[3\] or \[3, 2\]"),
        ({"active": torch.ones(2, dtype=torch.bool)}, r"active has .* shape \(2,\)"),
        ({"active": torch.ones(3, 1, dtype=torch.bool)}, r"active has .* shape \(3, 1\)"),
        ({"row_map": RowMap((0,), (1.0,))}, "rows names 1 rows, but base_cond has 2"),
        ({"latent": zeros(2, 1, 4, 6, 8)}, "compare_as made .* must keep the shape"),
    ],
)
def test_predictions_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cases.make(0).but(**changes).run()


@pytest.mark.parametrize(
    ("images", "weights", "message"),
    [
        ((), (), "at least one row"),
        ((0, 0), (1.0,), "2 images and 1 weights"),
        ((-1,), (1.0,), "whole numbers of 0 or more"),
        ((True,), (1.0,), "whole numbers"),
        ((0,), (math.nan,), "finite"),
        ((0,), (math.inf,), "finite"),
        ((0, 2), (1.0, 1.0), "every image from 0 to 2 needs a row"),
    ],
)
def test_rows_that_do_not_fit(images: tuple[int, ...], weights: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RowMap(images, weights)
