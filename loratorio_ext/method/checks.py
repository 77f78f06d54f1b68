"""What `compose` refuses before any work: it looks at settings, shapes and dtypes, never at values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from loratorio_ext.method.rows import RowMap

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_settings(
    patch_size: int,
    temperature: float,
    top_k: int,
    top_k_scope: str,
    recenter: float,
    weighting: str,
    gain: float,
) -> None:
    """Raise a ValueError that names the setting, its value and its range."""
    for name, value, lowest, unit in (
        ("patch_size", patch_size, 1, "latent pixels, for example 2"),
        ("top_k", top_k, 0, "networks; 0 keeps all of them"),
    ):
        if type(value) is not int or value < lowest:
            raise ValueError(f"{name} is {value!r}; give a whole number of {lowest} or more ({unit})")
    if not _is_number(temperature) or not temperature > 0:
        raise ValueError(f"temperature is {temperature!r}; give a finite number above 0, for example 0.1")
    if not _is_number(recenter) or not 0 <= recenter <= 1:
        raise ValueError(f"recenter is {recenter!r}; give a number from 0 to 1, for example 0.5")
    if top_k_scope not in ("image", "patch"):
        raise ValueError(f'top_k_scope is {top_k_scope!r}; give "image" or "patch"')
    if weighting not in ("difference", "relative"):
        raise ValueError(f'weighting is {weighting!r}; give "difference" or "relative"')
    if not _is_number(gain) or not 0 <= gain <= 1:
        raise ValueError(f"gain is {gain!r}; give a number from 0 (the paper's mean) to 1 (the sum)")


def check_predictions(
    base_cond: Tensor,
    network_conds: Tensor,
    base_uncond: Tensor | None,
    network_unconds: Tensor | None,
    recenter: float,
    rows: RowMap | None,
    active: Tensor | None,
    places: Tensor | None,
) -> RowMap:
    """Raise a ValueError where shapes, dtypes, devices or rows do not match.

    Returns:
        ``rows``; where it is None, one row for each image.
    """
    if base_cond.dim() != 4 or 0 in base_cond.shape:
        raise ValueError(
            f"base_cond has shape {tuple(base_cond.shape)}; give [B, C, H, W] without empty dims"
        )
    if base_cond.dtype not in DTYPES:
        names = ", ".join(str(dtype) for dtype in DTYPES)
        raise ValueError(f"base_cond has dtype {base_cond.dtype}; give one of {names}")
    if network_conds.dim() != 5 or network_conds.shape[0] == 0:
        raise ValueError(
            f"network_conds has shape {tuple(network_conds.shape)}; "
            "give [N, B, C, H, W] with at least one network"
        )
    networks, cond_rows = network_conds.shape[0], base_cond.shape[0]
    if rows is None:
        rows = RowMap.one_each(cond_rows)
    elif rows.cond_rows != cond_rows:
        raise ValueError(
            f"rows names {rows.cond_rows} rows, but base_cond has {cond_rows}; give one image for each row"
        )
    _check_like(base_cond, "network_conds", network_conds, (networks, *base_cond.shape))
    allowed = ((networks,), (networks, cond_rows))
    if active is not None and (active.dtype != torch.bool or tuple(active.shape) not in allowed):
        raise ValueError(
            f"active has dtype {active.dtype} and shape {tuple(active.shape)}; "
            f"give bool [{networks}] or [{networks}, {cond_rows}]"
        )
    size = tuple(base_cond.shape[-2:])
    if places is not None and tuple(places.shape) not in ((networks, 1, *size), (networks, cond_rows, *size)):
        raise ValueError(
            f"places has shape {tuple(places.shape)}; give [{networks}, {cond_rows}, {size[0]}, {size[1]}]"
        )
    if base_uncond is None:
        if network_unconds is not None:
            raise ValueError(
                "network_unconds is given without base_uncond; give both, or neither without guidance"
            )
        return rows

    of_images = (rows.images, *base_cond.shape[1:])
    _check_like(base_cond, "base_uncond", base_uncond, of_images)
    if network_unconds is not None:
        _check_like(base_cond, "network_unconds", network_unconds, (networks, *of_images))
    elif recenter < 1:
        raise ValueError(
            f"network_unconds is None, but recenter is {recenter!r} and needs them below 1; "
            "give them, or set recenter to 1"
        )
    return rows


def _check_like(base: Tensor, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, but base_cond of {tuple(base.shape)} asks for {shape}"
        )
    if tensor.dtype != base.dtype or tensor.device != base.device:
        raise ValueError(
            f"{name} is {tensor.dtype} on {tensor.device}, but base_cond is {base.dtype} on {base.device}; "
            "bring all predictions to one dtype and device"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
