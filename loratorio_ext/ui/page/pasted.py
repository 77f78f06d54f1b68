"""What a pasted infotext says that the page can do, and what it cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Final

from loratorio_ext.infotext import last_line_fields, last_line_parts
from loratorio_ext.server.words import Words
from loratorio_ext.setting import Setting, Value
from loratorio_ext.settings import SETTINGS
from loratorio_ext.ui.page.generator import LARGEST_SIDE, LONGEST_INFOTEXT, PASTED, Facts, numbers

_NEGATIVE: Final = "Negative prompt:"
_LONGEST_KEY: Final = 40
# Controls that are named by other keys than their labels.
_CONTROLS: Final = MappingProxyType({"Hires upscale": "Upscale by"})
_MOST_HASHES: Final = 20
_NONE: Final[Mapping[str, object]] = MappingProxyType({})


@dataclass(frozen=True)
class Pasted:
    """What an infotext says.

    Attributes:
        values: of the controls ``PASTED``, by name; None: nothing, or nothing that can be used here.
        fields: its keys and values, for the panel.
        started: whether the picture was drawn from another one (img2img), which no infotext holds.
        left_out: what it says and the page cannot do: keys, with value, limits and what is kept where known.
    """

    values: Mapping[str, Value | None]
    fields: Mapping[str, str]
    left_out: tuple[str, ...]
    started: bool = False


def read_pasted(text: str, facts: Facts, words: Words, now: Mapping[str, object] = _NONE) -> Pasted:
    """Read an infotext, of this page or of a WebUI; ``now``: what the controls ``PASTED`` have, by name.

    Raises:
        ValueError: it is none.
    """
    if len(text) > LONGEST_INFOTEXT:
        raise ValueError(words("An infotext has at most {limit} characters.", limit=LONGEST_INFOTEXT))
    fields = last_line_fields(text)
    if "Steps" not in fields:
        raise ValueError(
            words("This is not an infotext: its last line has no “Steps:”. Copy all lines below a picture.")
        )
    width, _, height = fields.get("Size", "").partition("x")
    hires = {"Upscale by": fields.get("Hires upscale", "1"), "Hires steps": fields.get("Hires steps", "0")}
    said = {**fields, "Width": width, "Height": height, **hires}
    # In both ways the strength has one key. What the page cannot do of Hires. fix has such keys too.
    started = "Denoising strength" in fields and not any(key.startswith("Hires ") for key in fields)
    prompt, negative = _prompts(text)
    values: dict[str, Value | None] = {
        "prompt": prompt,
        "negative": negative,
        "sampler": _sampler(fields, facts),
        **{one.name: _parsed(one, said.get(one.label, "")) for one in numbers(facts) if one.name in PASTED},
    }
    for side in ("width", "height"):
        value = values[side]
        values[side] = value if isinstance(value, int) and value % facts.multiple == 0 else None
    if values["width"] is None or values["height"] is None:
        values["width"] = values["height"] = None
    if not started:
        values["strength"] = None
    if "Hires upscale" not in fields:
        values["hires_strength"] = None
    strengths = (values["strength"], values["hires_strength"])
    used = {
        "Denoising strength": next((one for one in strengths if one is not None), None),
        "Hires upscale": values["hires_scale"],
        "Hires steps": values["hires_steps"],
        "Steps": values["steps"],
        "CFG scale": values["cfg"],
        "Sampler": values["sampler"],
        "Size": values["width"] and values["height"],
        "Seed": values["seed"],
    }
    refused = [_refused(key, fields[key], facts, now, words) for key in _left_out(fields, used, facts)]
    others = map(_short, (*_dropped(text, fields), *_other_files(fields, facts, words)))
    return Pasted(values, fields, (*refused, *others), started)


def _refused(key: str, value: str, facts: Facts, now: Mapping[str, object], words: Words) -> str:
    """A key that is left out; where a control is known, with its limits and the value that it keeps."""
    said = {"key": _short(key), "value": _short(value)}
    if key == "Size" and "width" in now:
        limits = words("multiples of {step} up to {high}", step=facts.multiple, high=LARGEST_SIDE)
        kept = f"{now['width']}x{now['height']}"
        return words("{key} {value} ({limits}; {kept} kept)", **said, limits=limits, kept=kept)
    if key == "Sampler" and "sampler" in now:
        return words("{key} {value} ({kept} kept)", **said, kept=str(now["sampler"]))
    ranges = {one.label: one for one in reversed(numbers(facts))}
    own = ranges.get(_CONTROLS.get(key, key))
    setting = own or {one.infotext: one for one in SETTINGS}.get(key)
    if setting is None or setting.minimum is None or _parsed(setting, value) is not None:
        return _short(key)
    kept = str(now.get(setting.name) if own else setting.default)
    limits = words("{low} to {high}", low=f"{setting.minimum:.16g}", high=f"{setting.maximum:.16g}")
    if own and setting.name not in now:
        return _short(key)
    return words("{key} {value} ({limits}; {kept} kept)", **said, limits=limits, kept=kept)


def _left_out(fields: Mapping[str, str], used: Mapping[str, object], facts: Facts) -> Iterator[str]:
    """What an infotext says and the page does not take over, by its keys."""
    settings = {one.infotext: one for one in SETTINGS}
    own_ways = {
        "Networks combined by": ("loratorio", "merge"),
        "Schedule type": ("Karras", "Automatic"),
        "Hires upscaler": ("Latent",),
    }
    for key, value in fields.items():
        if key in used:
            taken = used[key] is not None
        elif key in settings:
            taken = _parsed(settings[key], value) is not None
        elif key == "Model":
            taken = value.casefold() == (facts.stem or facts.name).casefold()
        else:
            taken = key in ("Lora hashes", "Version") or value in own_ways.get(key, ())
        if not taken:
            yield key


def _dropped(text: str, fields: Mapping[str, str]) -> Iterator[str]:
    """Pieces of the last line that have no colon, and keys with values of which a later one counts."""
    later = Counter(key for key, value in last_line_parts(text) if value is not None)
    for key, value in last_line_parts(text):
        later[key] -= value is not None
        if value is None:
            yield key
        elif later[key] and value != fields[key]:
            yield f"{key}: {value}"


def _other_files(fields: Mapping[str, str], facts: Facts, words: Words) -> Iterator[str]:
    """Networks whose files here are not those with which the picture was made."""
    parts = (part.partition(":") for part in fields.get("Lora hashes", "").split(","))
    for name, _, said in islice(parts, _MOST_HASHES):
        name, said = name.strip(), said.strip().lower()
        own = facts.hash_of(name) if said else ""
        if own and not (own.startswith(said) or said.startswith(own)):
            yield words("{name} (another version)", name=name)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_KEY else text[: _LONGEST_KEY - 1] + "…"


def _parsed(setting: Setting, text: str) -> Value | None:
    try:
        return setting.parse(text)
    except ValueError:
        return None


def _prompts(text: str) -> tuple[str, str]:
    """(prompt, negative prompt): the lines above the last one."""
    lines = text.strip().replace("\r\n", "\n").split("\n")[:-1]
    at = next((place for place, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    first = "".join(lines[at : at + 1]).removeprefix(_NEGATIVE).strip()
    return "\n".join(lines[:at]).strip(), "\n".join([first, *lines[at + 1 :]]).strip()


def _sampler(fields: Mapping[str, str], facts: Facts) -> str | None:
    name = fields.get("Sampler", "")
    # Newer WebUIs write the spacing of the noise levels on its own.
    spacing = f" {fields['Schedule type']}" if fields.get("Schedule type") == "Karras" else ""
    wanted = f"{name}{spacing}".casefold()
    return next((one for one in facts.samplers if one.casefold() == wanted), None)
