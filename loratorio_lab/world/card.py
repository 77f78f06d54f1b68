"""The model card of the embedded world, written from its scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loratorio_ext.cli.judge import FACTORS, NONE
from loratorio_lab.world.concepts import FACTOR_OF_CONCEPT
from loratorio_lab.world.gate import GUIDANCE, LEAST_WITH_TRIGGER, MOST_WITHOUT_TRIGGER

_CARD = """\
# The embedded world

A small latent diffusion model, LoRA networks for concepts it has no word for, and a judge that says what
a picture shows. All pictures are drawn by this project's own code (`loratorio_lab/world/drawing.py`);
no other data was used. License: MIT, like the project.

It exists to show and to measure how networks are combined. It draws nothing but the scenes described here.

| file | what it is |
|---|---|
| `model/` | the base model, a folder for diffusers' `StableDiffusionPipeline` (float16) |
| `networks/*.safetensors` | {shipped} networks, kohya key names (float16) |
| `judge.safetensors` | the judge (float16) |
| `scores.json` | all figures on this page |

Together {megabytes:.1f} MB. Made by `python -m loratorio_lab train-demo` with seed {seed} in
{minutes:.0f} minutes ({machine}; torch {torch}, diffusers {diffusers}).

## What it draws
64 × 64 pictures, captions of the form "{form}":

| factor | the base knows | only a network knows |
|---|---|---|
{factors}

A concept's name is its network's trigger word. In the base model's training a trigger word stood in
12 % of the captions in place of a value, so that to the base it means "not named"; in some of those
({hints}) the concept was really drawn, so that the base has
a faint idea of it. Half of its pictures had captions that left a factor out, and mostly showed a concept
there: the base has seen the concepts but hardly has a word for them.

## Parts and training
- **Latent space**: diffusers' AutoencoderTiny, 8 × 16 × 16, {autoencoder_pictures:,} pictures,
  {autoencoder_steps:,} steps of 16.
- **Base model**: UNet2DConditionModel (48, 64, 96 channels, attention from the second level down; 2.9 million
  parameters), CLIPTextModel
  (width 64, 2 layers, 16 tokens), Stable Diffusion's noise schedule, v-prediction; {base_pictures:,}
  pictures, {base_steps:,} steps of {base_batch}.
- **Networks**: rank 8 on attention, feed-forward, projections, time embedding and convolutions.
  {own_pictures} pictures of a narrow domain each (mostly two values of every other factor); a third of
  every batch are common captions without the trigger word, where the target is the base model's own
  prediction, so that the network keeps quiet there.
- **Judge**: a convolutional classifier with one head per factor, each with an answer "{none}" that is learnt
  from spoiled drawings; {judge_pictures:,} pictures, {judge_epochs} passes.

## Scores
Judge on {judged} fresh drawings: all five factors right {judge_fresh:.2%}. With an eighth of the factors
spoiled: {judge_spoiled:.2%}.

Every network alone, {gate_pictures} pictures per figure ({gate_steps} DDIM steps, CFG {guidance:g}), as
judged.
The gate: at least {least:.2f} with the trigger word, at most {most:.2f} without; a network that fails is left
out. "Rest right": all other values of the caption are there. "Base unaided": the base draws the concept
from the trigger word without the network.

| network | with trigger | without | rest right | the base's rest | base unaided | steps | shipped |
|---|---|---|---|---|---|---|---|
{networks}

## Limits
Name all five factors in a prompt. Where one is left out, the base model itself often draws a concept there,
since it saw many such pictures; the networks do not make that more frequent, but they do not stop it either.
A figure of {gate_pictures} pictures has a standard error of up to 0.03 near the gate.

One base model, one training seed. The networks are far quieter outside their domain than those that
people share; do not take figures measured here for those of real networks.
"""


def write_card(path: Path, scores: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    """Write the card. ``scores`` as in ``scores.json``; ``recipe`` the fields of the training recipe."""
    factors = "\n".join(
        f"| {factor.name} | {', '.join(factor.known)} | {', '.join(factor.concepts) or '–'} |"
        for factor in FACTORS
    )
    shares = ("with_trigger", "without_trigger", "rest", "base_rest", "base_unaided")
    networks = "\n".join(
        f"| {name} ({FACTOR_OF_CONCEPT[name].name}) | "
        + " | ".join(f"{gate[share]:.2f}" for share in shares)
        + f" | {gate['steps']} | {'yes' if gate['passed'] else 'no'} |"
        for name, gate in scores["networks"].items()
    )
    judge = scores["judge"]
    text = _CARD.format(
        megabytes=scores["bytes"] / 1e6,
        seed=scores["seed"],
        minutes=scores["seconds"]["all"] / 60,
        machine=scores["machine"],
        torch=scores["versions"]["torch"],
        diffusers=scores["versions"]["diffusers"],
        form="a {color} {texture} {shape} on {background} with {object}",
        factors=factors,
        none=NONE,
        judged=judge["pictures"],
        judge_fresh=judge["fresh drawings"]["all five right"],
        judge_spoiled=judge["an eighth spoiled"]["all five right"],
        guidance=GUIDANCE,
        least=LEAST_WITH_TRIGGER,
        most=MOST_WITHOUT_TRIGGER,
        networks=networks,
        shipped=sum(gate["passed"] for gate in scores["networks"].values()),
        hints=", ".join(f"{name} {share:.0%}" for name, share in recipe["hint"].items()),
        **recipe,
    )
    path.write_text(text, encoding="utf-8")
