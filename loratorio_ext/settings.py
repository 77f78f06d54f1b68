"""Every setting of a composition once: name, type, range, default, label, help and infotext key.

`Settings` holds the values of one generation, `SETTINGS` describes them to user interfaces, the command
line and the API. To add a setting, add one field to `Settings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from loratorio_ext.infotext import last_line_fields, quoted
from loratorio_ext.setting import INFOTEXT_PREFIX, Setting, Value, declare, declared, shown

__all__ = [
    "INFOTEXT_PREFIX",
    "SETTINGS",
    "Setting",
    "Settings",
    "Value",
    "settings_from_arguments",
    "settings_schema",
]


@dataclass(frozen=True)
class Settings:
    """The settings of one generation; what each does is said by its help text.

    Raises:
        ValueError: a value of another type or outside its range, or start after end; names the value, what
            is allowed and the default.
    """

    enabled: bool = declare(
        False,
        "Enable LoRAtorio",
        "Compose the networks of the prompt place by place. Off: they are merged the usual way.",
    )
    patch_size: int = declare(
        2,
        "Patch size",
        "Side of the squares in which networks are compared and mixed, in latent pixels (each usually 8 × 8 "
        "pixels of the picture). Low: fine borders between networks, but noisier decisions. High: calmer, "
        "coarser decisions; from the latent's size on, a single one for the whole picture.",
        (1, 64, 1),
        usable=(1, 16),
    )
    temperature: float = declare(
        0.25,
        "Temperature",
        "How evenly the networks share a place. Low: the network with the most to say there speaks almost "
        "alone. High: all speak equally everywhere; with weights by difference, from about 1 on.",
        (1e-4, 1000.0, 0.01),
        usable=(0.01, 2.0),
    )
    top_k: int = declare(
        0,
        "Keep top k",
        "How many networks may speak at a time: those that differ most from the base model. Low: fewer "
        "networks mix, so they bleed less into each other, but some may never appear. High: more of them "
        "mix. 0, or as many as there are: all of them.",
        (0, 64, 1),
        usable=(0, 16),
    )
    top_k_scope: Literal["image", "patch"] = declare(
        "image",
        "Choose top k per",
        "Where the networks to keep are chosen. image: one choice for the whole picture, so that the others "
        "can be skipped between looks. patch: a separate choice at every place; all networks are evaluated.",
    )
    recenter: float = declare(
        1.0,
        "Recenter",
        "What the guidance pushes away from. Low (0): the networks' own unconditional predictions; their "
        "effect is weakest. High (1): the base model's; their effect is strongest, and their unconditional "
        "predictions need not be computed, which is much faster. The paper uses 0.5.",
        (0.0, 1.0, 0.05),
    )
    compare: Literal["noise", "denoised"] = declare(
        "noise",
        "Compare in",
        "What the networks are compared by. noise: the predicted noise, as in the paper; networks look "
        "alike in the first steps and differ more towards the end. denoised: the predicted picture, in "
        "which they differ most in the first steps.",
    )
    start: float = declare(
        0.0,
        "Start",
        "Fraction of the steps after which composing begins; before that, the networks act merged, the "
        "usual way. Low (0): composed from the first step, which decides the layout. High: only details are "
        "composed, and fewer steps cost extra time.",
        (0.0, 1.0, 0.05),
    )
    end: float = declare(
        1.0,
        "End",
        "Fraction of the steps after which composing ends; from there on, the networks act merged, the "
        "usual way. Low: only the layout is composed, and fewer steps cost extra time. High (1): composed "
        "to the last step. Must not be below Start.",
        (0.0, 1.0, 0.05),
    )
    rescan: int = declare(
        1,
        "Rescan every",
        "With Looks at 0 and top k per image: how often, in steps, all networks are compared again; in "
        "between, only the networks kept are evaluated. Low (1): the choice is always fresh, but every step "
        "takes the full time. High: faster, but a network may come in late.",
        (1, 1000, 1),
        usable=(1, 20),
    )
    batch_rows: int = declare(
        0,
        "Rows per call",
        "How many predictions the model is asked for at once. Low: less memory, slower. High: more memory, "
        "usually faster. 0: as many as fit.",
        (0, 1024, 1),
        usable=(0, 64),
    )
    pool: str = declare(
        "",
        "Pool",
        "Networks that take part without a tag: names or patterns below the folder of networks, separated "
        "by commas, such as characters/*, night. Empty: only the networks of the prompt. Best with top k, "
        "so that only those with something to say are mixed.",
        (None, 2000, None),
    )
    weighting: Literal["relative", "difference"] = declare(
        "relative",
        "Weights by",
        "How differences from the base model become weights. relative: each network's differences as "
        "multiples of their own mean, so that it speaks where it has more to say than elsewhere; a "
        "temperature then means the same for every step, model and network. difference: the differences as "
        "they are, as in the paper; good temperatures are then far lower.",
        key="weights by",
    )
    gain: float = declare(
        0.35,
        "Gain",
        "Makes up for what each network loses by being mixed with others. Low (0): the mean of the "
        "networks, as in the paper; the more there are, the fainter each of them is. High (1): everything "
        "that they add, nearly as strong as merged; too much can break colors and shapes. With a single "
        "network it has no effect.",
        (0.0, 1.0, 0.05),
    )
    reuse: int = declare(
        1,
        "Evaluate networks every",
        "With Looks at 0: how often, in steps, the networks are evaluated; in between, what each of them "
        "added last is added again to the base model's new prediction. Low (1): at every step. High: much "
        "faster, but networks react late; with few steps in total, fine detail suffers first.",
        (1, 100, 1),
        usable=(1, 20),
    )
    score: Literal["history", "step"] = declare(
        "history",
        "Top k by",
        "What networks are chosen by, with top k per image. history: how much they have differed from the "
        "base model, as a mean over all steps so far at which all were compared; a calmer choice. step: how "
        "much they differ at this step alone, as in the paper.",
        key="top k by",
    )
    looks: int = declare(
        4,
        "Looks",
        "At how many steps, half of them at most, every network is evaluated on its own, to see where it has "
        "something to say; most of them early. In the steps between, all networks act at once, each at its "
        "own places, which costs hardly more than a plain step. Low: faster. High: networks react to the "
        "growing picture. 0: every step.",
        (0, 50, 1),
        unnamed=0,
        usable=(0, 20),
    )

    pool_by: Literal["words", "difference"] = declare(
        "words",
        "Pool by",
        "Which networks of the pool take part. words: where the prompt has trigger words of some, only "
        "these, as far as top k does not ask for more; otherwise all of them. difference: all of them; how "
        "much each differs from the base model decides alone.",
        unnamed="difference",
    )

    def __post_init__(self) -> None:
        for setting in SETTINGS:
            object.__setattr__(self, setting.name, setting.check(getattr(self, setting.name)))
        if self.start > self.end:
            raise ValueError(
                f"start is {self.start} and end is {self.end}; give a start not above end (defaults 0 and 1)"
            )

    def to_dict(self) -> dict[str, Value]:
        """All values by name."""
        return {setting.name: getattr(self, setting.name) for setting in SETTINGS}

    @classmethod
    def from_dict(cls, values: Mapping[Any, object]) -> Settings:
        """Settings from values by name; for missing ones see `Setting.unnamed`.

        Raises:
            ValueError: an unknown name, or a value that is not allowed.
        """
        if not isinstance(values, Mapping):
            raise ValueError(
                f'settings are {shown(values)}; give names with values, for example {{"patch_size": 2}}'
            )
        known = [setting.name for setting in SETTINGS]
        for name in values:
            if name not in known:
                near = get_close_matches(name[:64], known, 1, 0.5) if isinstance(name, str) else []
                hint = f"did you mean {near[0]!r}?" if near else f"give one of {', '.join(known)}"
                raise ValueError(f"{shown(name)} is not a setting; {hint}")
        return cls(**{one.name: values.get(one.name, one.unnamed) for one in SETTINGS})  # type: ignore[arg-type]

    def infotext_fields(self) -> dict[str, str]:
        """Infotext keys and values: "enabled", and what missing keys do not mean; nothing at all when off."""
        if not self.enabled:
            return {}
        values = self.to_dict()
        return {s.infotext: str(values[s.name]) for s in SETTINGS if values[s.name] != s.unnamed}

    def to_infotext(self) -> str:
        """`infotext_fields` as text: "LoRAtorio enabled: True, LoRAtorio patch size: 4"."""
        return ", ".join(f"{key}: {quoted(value)}" for key, value in self.infotext_fields().items())

    @classmethod
    def from_infotext(cls, infotext: str | Mapping[str, str]) -> Settings:
        """Settings from a picture's infotext, or from its keys and values.

        Of a text only the last line counts: those above are prompts, which may say anything. Keys that are
        no setting are left alone, also with our prefix: a host may tell more about a picture, and a newer
        version may know more settings. For missing keys see `Setting.unnamed`; a picture made without
        LoRAtorio is "off".

        Raises:
            ValueError: a value that is not allowed.
        """
        found = last_line_fields(infotext) if isinstance(infotext, str) else dict(infotext)
        return cls.from_dict({s.name: s.parse(found[s.infotext]) for s in SETTINGS if s.infotext in found})


SETTINGS = declared(Settings)


def settings_schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of the named settings, as `Settings.from_dict` takes them.

    What it accepts is accepted there too, except a start above the end, and texts with characters that are
    not printable; what it refuses is refused there too.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of LoRAtorio",
        "description": "Missing settings have their defaults. start must not be above end.",
        "type": "object",
        "properties": {one.name: one.to_schema() for one in SETTINGS},
        "additionalProperties": False,
    }


def settings_from_arguments(arguments: Sequence[object]) -> Settings:
    """Settings from the arguments that a WebUI hands to its script.

    Either the values of all controls in the order of ``SETTINGS`` (what the page sends; the API may leave out
    the last ones), or, friendlier for the API, one dict of named settings as the first argument. Such a dict
    means "on" unless it says otherwise. Whatever follows it is not read: the WebUI writes a request's
    arguments over the defaults of all controls, so the defaults of the others follow (modules/api/api.py,
    ``init_script_args``).

    Raises:
        ValueError: more values than settings, an unknown name, or a value that is not allowed; names it and
            what is allowed.
    """
    if arguments and isinstance(arguments[0], dict):
        return Settings.from_dict({"enabled": True, **arguments[0]})
    if len(arguments) > len(SETTINGS):
        raise ValueError(
            f"there are {len(arguments)} values; give at most {len(SETTINGS)}, one for each setting from "
            f"{SETTINGS[0].name} to {SETTINGS[-1].name}, or one object with names, "
            'for example [{"patch_size": 2}]'
        )
    return Settings.from_dict({one.name: value for one, value in zip(SETTINGS, arguments, strict=False)})
