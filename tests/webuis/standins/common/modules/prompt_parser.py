"""Conditions with their schedules. A prompt is "a AND b :0.5"; "[a:b:3]" changes after the call 3."""

from __future__ import annotations

import re
from collections import namedtuple

import torch

ScheduledPromptConditioning = namedtuple("ScheduledPromptConditioning", ["end_at_step", "cond"])
Composable = namedtuple("Composable", ["schedules", "weight"])


class DictWithShape(dict):
    @property
    def shape(self):
        return self["crossattn"].shape


class Multicond:
    def __init__(self, batch):
        self.batch = batch


def _schedules(model, text, steps):
    match = re.fullmatch(r"(.*)\[(.*):(.*):(\d+)\](.*)", text)
    texts = [(steps, text)]
    if match:
        before, first, second, when, after = match.groups()
        texts = [(int(when), before + first + after), (steps, before + second + after)]
    return [ScheduledPromptConditioning(end, model.get_learned_conditioning(part)) for end, part in texts]


def get_learned_conditioning(model, prompts, steps):
    return [_schedules(model, text, steps) for text in prompts]


def get_multicond_learned_conditioning(model, prompts, steps):
    batch = []
    for prompt in prompts:
        parts = []
        for part in re.split(r"\bAND\b", prompt):
            match = re.fullmatch(r"(.*?)\s*:\s*(-?[\d.]+)\s*", part, re.DOTALL)
            text, weight = (match[1], float(match[2])) if match else (part, 1.0)
            parts.append(Composable(_schedules(model, text, steps), weight))
        batch.append(parts)
    return Multicond(batch)


def _at(schedules, step):
    return next((one.cond for one in schedules if step <= one.end_at_step), schedules[0].cond)


def _stacked(conds):
    if isinstance(conds[0], dict):
        return DictWithShape({name: _stacked([cond[name] for cond in conds]) for name in conds[0]})
    if conds[0].dim() == 0:
        return torch.stack(conds)
    longest = max(cond.shape[0] for cond in conds)
    filling = [cond[-1:].repeat(longest - cond.shape[0], *[1] * (cond.dim() - 1)) for cond in conds]
    return torch.stack([torch.cat(pair) for pair in zip(conds, filling, strict=True)])


def reconstruct_cond_batch(c, current_step):
    return _stacked([_at(schedules, current_step) for schedules in c])


def reconstruct_multicond_batch(c, current_step):
    rows, conds_list = [], []
    for parts in c.batch:
        image = []
        for part in parts:
            image.append((len(rows), part.weight))
            rows.append(_at(part.schedules, current_step))
        conds_list.append(image)
    return conds_list, _stacked(rows)
