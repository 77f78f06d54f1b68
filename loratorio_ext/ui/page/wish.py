"""From the values of the controls to a wish; whoever can reach the page can send any values."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from loratorio_ext.networks.prompt import parse_prompt
from loratorio_ext.setting import shown
from loratorio_ext.settings import SETTINGS, Settings
from loratorio_ext.ui.page.drawing import Facts, Wish

MOST_STEPS: Final = 150
LARGEST_CFG: Final = 30.0
MOST_PICTURES: Final = 16
LARGEST_SIDE: Final = 2048
# Beyond it, a browser's numbers lose their last digits.
LARGEST_SEED: Final = 2**53 - 1 - MOST_PICTURES
_RANDOM_SEEDS: Final = 2**32


def wish_of(values: Sequence[object], facts: Facts) -> Wish:
    """A run from the controls' values.

    Args:
        values: prompt, negative prompt, steps, CFG scale, sampler, width, height, seed (-1: a random one),
            pictures, then the panel's controls in the order of ``SETTINGS``.
        facts: of the model.

    Raises:
        ValueError: names the first value that cannot be used, and what is allowed.
    """
    names = [one.name for one in SETTINGS]
    if len(values) != 9 + len(names):
        raise ValueError(
            f"{len(values)} values came from the page, not {9 + len(names)}; load the page again."
        )
    prompt, negative, steps, cfg, sampler, width, height, seed, pictures = values[:9]
    settings = Settings.from_dict(dict(zip(names, values[9:], strict=True)))
    text = _text("Prompt", prompt)
    ignored = parse_prompt(text).ignored
    if ignored:  # a picture without a network that was asked for would pass as one with it
        raise ValueError(f"The prompt cannot be used: {ignored[0]}.")
    if sampler not in facts.samplers:
        raise ValueError(f"Sampler is {shown(sampler)}; choose one of {', '.join(facts.samplers)}.")
    first = _whole("Seed", seed, -1, LARGEST_SEED)
    return Wish(
        prompt=text,
        negative=_text("Negative prompt", negative),
        steps=_whole("Steps", steps, 1, MOST_STEPS),
        cfg=_number("CFG scale", cfg, 1.0, LARGEST_CFG),
        sampler=str(sampler),
        width=_side("Width", width, facts.multiple),
        height=_side("Height", height, facts.multiple),
        # No secret, and each page may have the same: Python's own random numbers will do.
        seed=random.randrange(_RANDOM_SEEDS) if first < 0 else first,
        pictures=_whole("Pictures", pictures, 1, MOST_PICTURES),
        settings=settings,
    )


def _text(label: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{label} is {shown(value)}; give a text.")
    return value


def _number(label: str, value: object, lowest: float, highest: float) -> float:
    given = isinstance(value, int | float) and not isinstance(value, bool)
    if not given or not lowest <= value <= highest:  # type: ignore[operator]
        said = "empty" if value is None else shown(value)
        raise ValueError(f"{label} is {said}; give a number from {lowest:g} to {highest:g}.")
    return float(value)  # type: ignore[arg-type]


def _whole(label: str, value: object, lowest: int, highest: int) -> int:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if number is None or not lowest <= number <= highest or number != int(number):
        said = "empty" if value is None else shown(value)
        raise ValueError(f"{label} is {said}; give a whole number from {lowest} to {highest}.")
    return int(number)


def _side(label: str, value: object, multiple: int) -> int:
    side = _whole(label, value, multiple, LARGEST_SIDE)
    if side % multiple:
        below = side - side % multiple
        raise ValueError(
            f"{label} is {side}; it must be a multiple of {multiple} for this model, "
            f"such as {below or multiple} or {below + multiple}."
        )
    return side
