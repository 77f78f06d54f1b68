"""From a pasted infotext to the values of the controls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from loratorio_ext.infotext import last_line_fields
from loratorio_ext.server.words import Words
from loratorio_ext.ui.page.drawing import Facts
from loratorio_ext.ui.page.wish import LARGEST_CFG, LARGEST_SEED, LARGEST_SIDE, MOST_STEPS

LONGEST: Final = 100_000  # characters
_NEGATIVE: Final = "Negative prompt:"
_WHOLE: Final = re.compile(r"-?[0-9]{1,16}")
_NUMBER: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,10})?")
_SIZE: Final = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


@dataclass(frozen=True)
class Pasted:
    """What an infotext says; None: nothing, or nothing that can be used here.

    Attributes:
        fields: its keys and values, for the panel.
        left_out: labels of what it says and the page cannot do.
    """

    prompt: str
    negative: str
    steps: int | None
    cfg: float | None
    sampler: str | None
    width: int | None
    height: int | None
    seed: int | None
    fields: Mapping[str, str]
    left_out: tuple[str, ...]


def read_pasted(text: str, facts: Facts, words: Words) -> Pasted:
    """Read an infotext, of this page or of a WebUI.

    Raises:
        ValueError: it is none.
    """
    if len(text) > LONGEST:
        raise ValueError(words("An infotext has at most {limit} characters.", limit=LONGEST))
    fields = last_line_fields(text)
    if "Steps" not in fields:
        raise ValueError(
            words("This is no infotext: its last line has no “Steps:”. Copy all lines below a picture.")
        )
    prompt, negative = _prompts(text)
    sampler = _sampler(fields, facts)
    size = _SIZE.fullmatch(fields.get("Size", ""))
    sides = [_whole(side, facts.multiple, LARGEST_SIDE) for side in size.groups()] if size else [None, None]
    read = Pasted(
        prompt=prompt,
        negative=negative,
        steps=_whole(fields["Steps"], 1, MOST_STEPS),
        cfg=_number(fields.get("CFG scale", ""), 1.0, LARGEST_CFG),
        sampler=sampler,
        width=sides[0],
        height=sides[1],
        seed=_whole(fields.get("Seed", ""), -1, LARGEST_SEED),
        fields=fields,
        left_out=(),
    )
    known = {
        "Steps": read.steps,
        "CFG scale": read.cfg,
        "Sampler": read.sampler,
        "Size": read.width and read.height,
        "Seed": read.seed,
    }
    left_out = tuple(key for key, value in known.items() if key in fields and value is None)
    return Pasted(**{**vars(read), "left_out": left_out})


def _prompts(text: str) -> tuple[str, str]:
    """(prompt, negative prompt): the lines above the last one."""
    prompt: list[str] = []
    negative: list[str] | None = None
    for line in text.strip().splitlines()[:-1]:
        if negative is None and line.startswith(_NEGATIVE):
            negative = [line.removeprefix(_NEGATIVE).strip()]
        else:
            (prompt if negative is None else negative).append(line)
    return "\n".join(prompt).strip(), "\n".join(negative or []).strip()


def _sampler(fields: Mapping[str, str], facts: Facts) -> str | None:
    name = fields.get("Sampler", "")
    # Newer WebUIs write the spacing of the noise levels on its own.
    spacing = f" {fields['Schedule type']}" if fields.get("Schedule type") == "Karras" else ""
    wanted = f"{name}{spacing}".casefold()
    return next((one for one in facts.samplers if one.casefold() == wanted), None)


def _whole(text: str, lowest: int, highest: int) -> int | None:
    value = int(text) if _WHOLE.fullmatch(text) else None
    return value if value is not None and lowest <= value <= highest else None


def _number(text: str, lowest: float, highest: float) -> float | None:
    value = float(text) if _NUMBER.fullmatch(text) else None
    return value if value is not None and lowest <= value <= highest else None
