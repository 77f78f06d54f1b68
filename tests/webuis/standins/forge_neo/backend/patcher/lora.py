"""Merging patches into weights, in place."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

# How the values of Forge's patches are added up is the same there.
_forge = Path(__file__).parents[3] / "forge" / "backend" / "patcher" / "lora.py"
_specification = importlib.util.spec_from_file_location("lora_of_forge", _forge)
_lora = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(_lora)


class weight_adapter:
    class WeightAdapterBase:
        def __init__(self, name, weights):
            self.name = name
            self.weights = weights

        def calculate_weight(
            self, weight, key, strength, strength_model, offset, function, intermediate_dtype
        ):
            tensors = self.weights[:5] if self.name == "lora" else self.weights
            value = (self.name, tensors)
            weight.copy_(_lora.merge_lora_to_weight([(strength, value, 1.0, None, function)], weight))
            return weight


def merge_lora_to_weight(patches, weight, key, computation_dtype=torch.float32):
    for strength, value, strength_model, offset, function, *_ in patches:
        part = weight if offset is None else weight.narrow(*offset)
        if strength_model != 1.0:
            part *= strength_model
        if isinstance(value, weight_adapter.WeightAdapterBase):
            value.calculate_weight(part, key, strength, strength_model, offset, function, computation_dtype)
            continue
        kind, tensors = ("diff", value) if len(value) == 1 else value
        if kind == "set":
            part.copy_(tensors[0])
        else:
            part += strength * tensors[0].to(part)
    return weight
