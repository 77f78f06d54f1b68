"""LyCORIS types through the library `lycoris-lora`, an optional extra: LoHa, LoKr, OFT, BOFT.

Its functional layer is used (`lycoris.functional`, the same from 3.1 to 4.x), in float32, scale left out:
`Computed` applies it. Nothing of the library is imported before a file needs it.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.networks.computed import Parts
from loratorio_ext.networks.errors import LayerPartsError


def _diff_weight(algorithm: str, *arguments: Any, **options: Any) -> Tensor:
    """`lycoris.functional.<algorithm>.diff_weight`, plain torch, without its compiled kernels.

    Raises LayerPartsError where the library is missing.
    """
    try:
        function = importlib.import_module(f"lycoris.functional.{algorithm}").diff_weight
    except ImportError as error:
        raise LayerPartsError(
            "this LyCORIS type needs the Python package lycoris-lora, which is not installed or does not "
            f"load ({error}); install the extra: pip install 'loratorio[lycoris]'"
        ) from error
    if "backend" in inspect.signature(function).parameters:
        options["backend"] = "torch"
    result: Tensor = function(*arguments, **options)
    return result


def loha(parts: Parts, weight: Tensor) -> Tensor:
    """LoHa: ΔW = (a1 · b1) ⊙ (a2 · b2), each with a Tucker core if there is one. Source: arXiv 2108.06098."""
    one = torch.ones((), device=parts["hada_w1_a"].device)
    names = ("hada_w1_b", "hada_w1_a", "hada_w2_b", "hada_w2_a", "hada_t1", "hada_t2")
    return _diff_weight("loha", *(parts.get(name) for name in names), gamma=one)


def lokr(parts: Parts, weight: Tensor) -> Tensor:
    """LoKr: ΔW = w1 ⊗ w2, either factor given or low-rank. Source: arXiv 2309.14859 sec. 3.2."""
    names = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
    factors = [parts.get(name) for name in names]
    # The library divides gamma by what it takes for the rank; this gamma makes that 1.
    factored = factors[1] if factors[1] is not None else factors[4]
    return _diff_weight("lokr", *factors, gamma=1 if factored is None else factored.shape[1])


def oft(parts: Parts, weight: Tensor, *, constraint: float) -> Tensor:
    """OFT with diagonal blocks (3 dims) or butterfly blocks (4 dims). Source: arXiv 2306.07280, 2311.06243.

    constraint: bound on the norm of Q (alpha × outputs in the file); 0: none.
    """
    blocks = parts["oft_blocks"]
    algorithm = "diag_oft" if blocks.dim() == 3 else "boft"
    if constraint > 0:  # here, because the library asks the tensors for their norm on the host
        norm = torch.linalg.vector_norm(blocks - blocks.transpose(-1, -2))
        blocks = blocks * (constraint / norm.clamp_min(1e-8)).clamp_max(1.0)
    delta = _diff_weight(algorithm, weight, blocks, None, constraint=0)
    delta = delta.reshape(weight.shape)
    if "rescale" not in parts:
        return delta
    # Here rather than in the library, whose older versions scale the wrong dim.
    rescale = parts["rescale"].reshape(-1, *(1,) * (weight.dim() - 1))
    return rescale * (delta + weight) - weight
