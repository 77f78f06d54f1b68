"""Conditions of an evaluation, one dict for each AND sub-prompt."""

from __future__ import annotations

import math

import torch


def _repeated(tensor, batch_size):
    times = math.ceil(batch_size / tensor.shape[0])
    return tensor.repeat(times, *[1] * (tensor.dim() - 1))[:batch_size]


class Condition:
    def __init__(self, cond):
        self.cond = cond

    def process_cond(self, batch_size, device, **kwargs):
        return type(self)(_repeated(self.cond, batch_size))

    def can_concat(self, other):
        return self.cond.shape == other.cond.shape

    def concat(self, others):
        return torch.cat([self.cond, *(one.cond for one in others)])

    def size(self):  # asked by reForge
        return list(self.cond.shape)


class ConditionCrossAttn(Condition):
    def can_concat(self, other):
        a, b = self.cond.shape, other.cond.shape
        return a[0] == b[0] and a[2] == b[2] and math.lcm(a[1], b[1]) // min(a[1], b[1]) <= 4

    def concat(self, others):
        conds = [self.cond, *(one.cond for one in others)]
        longest = math.lcm(*(cond.shape[1] for cond in conds))
        return torch.cat([cond.repeat(1, longest // cond.shape[1], 1) for cond in conds])


class ConditionConstant(Condition):
    def process_cond(self, batch_size, device, **kwargs):
        return self

    def can_concat(self, other):
        return self.cond == other.cond

    def concat(self, others):
        return self.cond


def compile_conditions(cond):
    if cond is None:
        return None
    if isinstance(cond, torch.Tensor):
        return [{"cross_attn": cond, "model_conds": {"c_crossattn": ConditionCrossAttn(cond)}}]
    conds = {"c_crossattn": ConditionCrossAttn(cond["crossattn"]), "y": Condition(cond["vector"])}
    if "guidance" in cond:
        conds["guidance"] = Condition(cond["guidance"])
    return [{"cross_attn": cond["crossattn"], "pooled_output": cond["vector"], "model_conds": conds}]


def compile_weighted_conditions(cond, weights):
    results = []
    for parts in zip(*weights, strict=False):
        places = [place for place, _ in parts]
        feed = cond.advanced_indexing(places) if hasattr(cond, "advanced_indexing") else cond[places]
        (compiled,) = compile_conditions(feed)
        compiled["strength"] = parts[-1][1]
        results.append(compiled)
    return results
