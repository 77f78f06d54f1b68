"""ΔW that is computed when the layer runs: types that are not low-rank, and DoRA on top of any type.

LoHa, LoKr, OFT and BOFT go through the library `lycoris-lora`, an optional extra: its functional layer
(`lycoris.functional`, the same from 3.1 to 4.x), in float32. It is imported when a file first needs it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from loratorio_ext.networks.router import OutputSlice


class LayerPartsError(ValueError):
    """The parts that a file holds for one layer make no delta; the message is the reason and the remedy."""


Parts = Mapping[str, Tensor]
Rebuild = Callable[[Parts, Tensor], Tensor]
"""(parts, W) → ΔW without its scale, float32, one device. W is empty where the type does not need it."""


def _plain_weight(module: nn.Module, output_slice: OutputSlice | None) -> Tensor:
    """The layer's weight in float32 (the slice's rows), detached; ValueError for 4 bit, GGUF and the like."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        stored = f"as {weight.dtype}" if isinstance(weight, Tensor) else "nowhere that can be read"
        raise ValueError(
            f"a layer of class {type(module).__name__} has its weight stored {stored}, but this network's "
            "type is computed from the plain weight; load the model in 16, 32 or 8 bit floats, or use a LoRA"
        )
    plain = weight.detach().to(torch.float32)
    return plain if output_slice is None else plain[output_slice[0] : output_slice[0] + output_slice[1]]


def weight_decomposed(weight: Tensor, delta: Tensor, magnitude: Tensor) -> Tensor:
    """ΔW of DoRA: m · (W + ΔW) / ‖W + ΔW‖ − W.

    weight, delta: [out, in, *kernel]. magnitude m: [out, 1, ...] (norms of rows) or [1, in, 1, ...] (norms of
    columns), for LyCORIS has both. Source: DoRA (arXiv 2402.09353) eq. 5.
    """
    merged = weight + delta
    over = tuple(dim for dim in range(merged.dim()) if magnitude.shape[dim] == 1)
    norm: Tensor = torch.linalg.vector_norm(merged, dim=over, keepdim=True)
    return merged * (magnitude / norm.clamp_min(torch.finfo(norm.dtype).tiny)) - weight


@dataclass(frozen=True, eq=False)
class Computed:
    """Callable for `Dense.computed`: module → ΔW, float32, shaped like the weight, on the weight's device.

    scale: alpha / rank. shape: of the layer's weight, or of the slice; None: the module's own. needs_weight:
    whether rebuild reads W. magnitude: DoRA's, broadcastable to the shape.
    """

    rebuild: Rebuild
    parts: Parts
    scale: float = 1.0
    shape: tuple[int, ...] | None = None
    needs_weight: bool = False
    magnitude: Tensor | None = None
    output_slice: OutputSlice | None = None

    def __call__(self, module: nn.Module) -> Tensor:
        """ΔW for `module`. Raises ValueError where the layer's weight is needed but quantised."""
        stored = getattr(module, "weight", None)
        if self.needs_weight or self.magnitude is not None:
            weight = _plain_weight(module, self.output_slice)
        else:
            weight = torch.empty(0, device=getattr(stored, "device", "cpu"))
        shape = self.shape or getattr(stored, "shape", None)
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            return self._delta(weight, shape)

    def check(self) -> None:
        """Tries the shapes without computing. LayerPartsError: they do not fit, or a library is missing."""
        if self.shape is None:
            return
        try:
            self._delta(torch.empty(self.shape, device="meta"), self.shape)
        except LayerPartsError:  # a ValueError too, with a better reason
            raise
        except (RuntimeError, ValueError, IndexError) as error:
            shapes = ", ".join(f"{name} {tuple(part.shape)}" for name, part in self.parts.items())
            raise LayerPartsError(f"{shapes} do not fit the layer's weight {self.shape}") from error

    def _delta(self, weight: Tensor, shape: tuple[int, ...] | None) -> Tensor:
        parts = {name: part.to(weight.device, torch.float32) for name, part in self.parts.items()}
        delta = self.rebuild(parts, weight).to(torch.float32) * self.scale
        if shape is not None:
            if delta.shape[0] != shape[0]:
                raise ValueError(f"ΔW has shape {tuple(delta.shape)}, the weight {shape}")
            delta = delta.reshape(shape)
        if self.magnitude is None:
            return delta
        return weight_decomposed(weight.reshape(delta.shape), delta, self.magnitude.to(weight.device))


def low_rank(parts: Parts, weight: Tensor) -> Tensor:
    """Low-rank ΔW, up · down or up · mid · down (for DoRA; plain LoRA never becomes dense)."""
    up, down = parts["up"].flatten(1), parts["down"]
    if "mid" in parts:
        return torch.einsum("or,rs...,si->oi...", up, parts["mid"], down.flatten(1))
    return (up @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def ia3(parts: Parts, weight: Tensor, *, dim: int) -> Tensor:
    """(IA)³: ΔW = l ⊙ W along the outputs (dim 0) or the inputs (dim 1). Source: arXiv 2205.05638 §3.3."""
    return weight * parts["weight"].reshape([-1 if i == dim else 1 for i in range(weight.dim())])


def glora(parts: Parts, weight: Tensor) -> Tensor:
    """GLoRA: ΔW = W · A + B with A and B low-rank. Source: arXiv 2306.07967; LyCORIS modules/glora.py.

    Two orientations exist in files, told apart by the shapes: A = a1 · a2 (now) or a2 · a1 (before).
    """
    a1, a2 = parts["a1.weight"].flatten(1), parts["a2.weight"].flatten(1)
    b1, b2 = parts["b1.weight"].flatten(1), parts["b2.weight"].flatten(1)
    if not (a1.shape[0] == a2.shape[1] == weight.shape[1]):
        a1, a2, b1, b2 = a2, a1, b2, b1
    if "bm.weight" in parts:
        core = torch.einsum("or,rs...,si->oi...", b1, parts["bm.weight"], b2)
    else:
        core = (b1 @ b2).reshape(weight.shape)
    return torch.einsum("oi...,ij->oj...", weight, a1 @ a2) + core


def _diff_weight(algorithm: str, *arguments: Any, **options: Any) -> Tensor:
    """`lycoris.functional.<algorithm>.diff_weight`, plain torch; LayerPartsError without the library."""
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
    delta = _diff_weight(algorithm, weight, blocks, None, constraint=0).reshape(weight.shape)
    return _rescaled(delta, parts, weight)


def rotated(parts: Parts, weight: Tensor) -> Tensor:
    """OFT that holds its rotations R themselves, [blocks, n, n]: ΔW = Rᵀ · W − W, by blocks of the outputs.

    Source: AUTOMATIC1111's WebUI 1.10, extensions-builtin/Lora/network_oft.py ("Old LyCORIS OFT").
    """
    blocks = parts["oft_diag"]
    turned = torch.einsum("knm,kn...->km...", blocks, weight.unflatten(0, (len(blocks), -1)))
    return _rescaled(turned.flatten(0, 1) - weight, parts, weight)


def _rescaled(delta: Tensor, parts: Parts, weight: Tensor) -> Tensor:
    """OFT's ΔW with the factor for each output, where there is one."""
    if "rescale" not in parts:
        return delta
    # Here rather than in the library, whose older versions scale the wrong dim.
    rescale = parts["rescale"].reshape(-1, *(1,) * (weight.dim() - 1))
    return rescale * (delta + weight) - weight
