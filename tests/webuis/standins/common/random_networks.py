"""Random networks of every kind, as files."""

from __future__ import annotations

import torch
from safetensors.torch import save_file


def low_rank(weight, rank=2, mid=False):
    out, inside, *kernel = weight.shape
    ones = [1] * len(kernel)
    parts = {
        "lora_up.weight": torch.randn(out, rank, *ones) * 0.5,
        "lora_down.weight": torch.randn(rank, inside, *(ones if mid else kernel)) / weight[0].numel() ** 0.5,
        "alpha": torch.tensor(1.0),
    }
    if mid:
        parts["lora_mid.weight"] = torch.randn(rank, rank, *kernel) * 0.3
    return parts


def tensors_of(kind, module, in_unet, in_attention, norm_parts, dora_axis):
    """A network's tensors for one layer, or none.

    Args:
        norm_parts: what the differences of a norm's weight and bias are called.
        dora_axis: axis of a weight along which a DoRA has a scale each.
    """
    weight = module.weight.detach()
    if kind == "te" and not in_unet:
        return low_rank(weight)
    if not in_unet:
        return {}
    if kind == "norm" and weight.dim() == 1:
        return {part: torch.randn_like(weight) * 0.2 for part in norm_parts}
    if kind in ("locon", "cp") and weight.dim() == 4:
        return low_rank(weight, mid=kind == "cp" and weight.shape[-1] == 3)
    if not in_attention or weight.dim() != 2 or kind in ("norm", "locon", "cp"):
        return {}
    if kind == "loha":
        a, b = weight.shape
        sides = {"a": (a, 2), "b": (2, b)}
        return {f"hada_w{i}_{side}": torch.randn(*size) * 0.5 for i in (1, 2) for side, size in sides.items()}
    if kind == "ia3":
        return {"weight": torch.randn(weight.shape[1]) * 0.4}
    if kind in ("full", "set"):
        difference = torch.randn_like(weight) * 0.1
        if kind == "set":
            return {"set_weight": weight + difference}
        bias = {} if module.bias is None else {"diff_b": torch.randn(weight.shape[0]) * 0.1}
        return {"diff": difference, **bias}
    if kind == "sliced":
        half = weight.shape[0] // 2
        return low_rank(weight[:half]) | {"slice": torch.tensor([0, half, half])}
    parts = low_rank(weight)
    if kind == "dora":
        shape = [1, 1]
        shape[dora_axis] = weight.shape[dora_axis]
        parts["dora_scale"] = torch.rand(shape) + 0.5
    return parts


def write(folder, kinds, layers, unet_prefix, **more):
    """A file for each kind, one of them in a folder below; a copy of one, and a broken one.

    Args:
        layers: name in a file → module.
        unet_prefix: how the names of the UNet's layers begin.
        more: see `tensors_of`.
    """
    for seed, kind in enumerate(kinds):
        torch.manual_seed(100 + seed)
        found = {
            f"{layer}.{part}": tensor.contiguous()
            for layer, module in layers.items()
            for part, tensor in tensors_of(
                kind, module, layer.startswith(unet_prefix), "attentions" in layer, **more
            ).items()
        }
        save_file(found, folder / f"{kind}.safetensors")
    content = (folder / "lin.safetensors").read_bytes()
    (folder / "twin.safetensors").write_bytes(content)
    (folder / "broken.safetensors").write_bytes(content[:300])
    (folder / "sub").mkdir()
    (folder / "lin2.safetensors").rename(folder / "sub" / "lin2.safetensors")
