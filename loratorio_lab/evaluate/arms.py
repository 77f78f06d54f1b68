"""The ways of combining networks that are compared, and the controls that tell what does the work.

Imports no torch, since the options name the arms.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from loratorio_ext.cli.console import InputError
from loratorio_ext.cli.option_types import settings_from
from loratorio_ext.settings import SETTINGS, Settings, Value

if TYPE_CHECKING:
    from loratorio_ext.run import Method

REFERENCE: Final = "loratorio"
"""The arm that all others are compared with."""

ARM_NAMES: Final = (
    "base",
    "merge",
    "switch",
    "composite",
    REFERENCE,
    "loratorio-fast",
    "loratorio-every-step",
    "loratorio-paper",
    "loratorio-uniform",
    "loratorio-not-recentred",
    "loratorio-without-gain",
    "merge-recentred",
    "composite-recentred",
    "regional",
    "attention-masks",
)

# The highest temperature that the setting allows: weights equal to 1/N to two digits, whatever diverges.
_UNIFORM: Final = 1000.0

# Besides settings: kind, lowest and highest value.
_NUMBERS: Final[Mapping[str, tuple[type[float], int, int]]] = MappingProxyType(
    {"cfg": (float, 1, 1000), "steps": (int, 1, 200), "switch_every": (int, 1, 1000)}
)
SWEEPABLE: Final = (*_NUMBERS, *(s.name for s in SETTINGS if s.name not in ("enabled", "pool")))
"""What may be swept: the sampler's settings, Switch's period, and the composition's settings."""


@dataclass(frozen=True)
class Sampling:
    """How an arm samples.

    Attributes:
        steps: of the sampler.
        cfg: guidance scale.
        sampler: see `Request`.
    """

    steps: int
    cfg: float
    sampler: str | None = None


@dataclass(frozen=True)
class Arm:
    """One way, with everything that decides its pictures but the task.

    Attributes:
        name: no two arms of an evaluation have the same.
        method: what the run does.
        settings: of the composition; the usual ways do not read them.
        sampling: steps and guidance scale.
    """

    name: str
    method: Method
    settings: Settings
    sampling: Sampling


@dataclass(frozen=True)
class MethodArm(Arm):
    """A method, or a control of one, with networks that tags name.

    Its name is one of ``ARM_NAMES``, or one of these with what was swept: "loratorio temperature=0.5".

    Attributes:
        switch_every: evaluations after which Switch moves on.
        masks: whose maps say where networks act, see `masks`; "": the method's own.
    """

    switch_every: int
    masks: Literal["", "regional", "attention-masks"] = ""


def paper(settings: Settings) -> Settings:
    """The method as published: weights by differences, the plain mean, λ = 0.5, no step left out.

    The paper does not say its temperature; 0.02 was the best on this project's development tasks.
    """
    published = replace(settings, weighting="difference", recenter=0.5, gain=0.0, score="step", looks=0)
    return replace(published, temperature=0.02, reuse=1)


def arm(name: str, settings: Settings, switch_every: int, sampling: Sampling) -> MethodArm:
    """The arm of a name.

    Controls of LoRAtorio differ from it in one thing: "-fast" looks once, "-every-step" at every step,
    "-uniform" has weights of 1/N everywhere (τ → ∞), "-not-recentred" has λ = 0, "-without-gain" has g = 0;
    "-paper" is the method as published. The usual ways re-centred: "merge-recentred" and
    "composite-recentred" pull the unconditional towards the base by λ = 0.5, as in the paper. Networks placed
    by other maps: "regional" knows where the world draws each kind of concept (an upper bound), and
    "attention-masks" are hard masks from the cross-attention of trigger words, as in FreeFuse.

    Raises:
        ValueError: there is no such arm.
    """
    variants = {
        "loratorio-paper": paper(settings),
        "loratorio-fast": replace(settings, looks=1),
        "loratorio-every-step": replace(settings, looks=0),
        "loratorio-uniform": replace(settings, temperature=_UNIFORM, weighting="difference"),
        "loratorio-not-recentred": replace(settings, recenter=0.0),
        "loratorio-without-gain": replace(settings, gain=0.0),
        "composite-recentred": replace(paper(settings), temperature=_UNIFORM),
    }
    if name in variants:
        return MethodArm(name, "loratorio", variants[name], sampling, switch_every)
    if name == "merge-recentred":
        return MethodArm(name, "merge-recentred", replace(settings, recenter=0.5), sampling, switch_every)
    if name in ("regional", "attention-masks"):
        return MethodArm(name, "loratorio", settings, sampling, switch_every, name)  # type: ignore[arg-type]
    if name not in ARM_NAMES:
        raise ValueError(f"no arm {name!r}; give one of: {', '.join(ARM_NAMES)}")
    return MethodArm(name, name, settings, sampling, switch_every)  # type: ignore[arg-type]  # the rest are methods


def swept(arms: Sequence[MethodArm], name: str, values: Sequence[Value]) -> list[MethodArm]:
    """Every arm that ``name`` makes a difference to, once for each value.

    Args:
        arms: the arms to begin with.
        name: one of ``SWEEPABLE``: "cfg" and "steps" make a difference to all arms, "switch_every" to Switch,
            a setting of the composition to LoRAtorio and its controls.
        values: as `values_of` reads them.

    Raises:
        ValueError: no arm that it makes a difference to.
    """
    concerned = [one for one in arms if _concerns(one, name)]
    if not concerned:
        raise ValueError(f"{name} makes no difference to {', '.join(one.name for one in arms)}")
    return [_with(one, name, value) for one in concerned for value in values]


def values_of(name: str, text: str) -> tuple[Value, ...]:
    """The values of a sweep, written with commas: "0.5,1,2".

    Raises:
        ValueError: an unknown name, or a value that is not allowed; says which.
    """
    parts = [part.strip() for part in text.split(",")]
    if name in _NUMBERS:
        kind, lowest, highest = _NUMBERS[name]
        try:
            numbers = [kind(part) for part in parts]
        except ValueError:
            numbers = []
        if not numbers or not all(lowest <= number <= highest for number in numbers):
            kinds = "numbers" if kind is float else "whole numbers"
            raise ValueError(f"{name} is {text!r}; give {kinds} from {lowest} to {highest}, with commas")
        return tuple(numbers)
    for setting in SETTINGS:
        if setting.name == name and name in SWEEPABLE:
            return tuple(setting.parse(part) for part in parts)
    raise ValueError(f"{name!r} cannot be swept; give one of: {', '.join(SWEEPABLE)}")


def arms_from(arguments: Namespace) -> list[MethodArm]:
    """Every method once, then every sweep.

    Raises:
        ValueError: a sweep that cannot be; InputError, which is one, where it has no values.
    """
    settings = settings_from(arguments)
    sampling = Sampling(arguments.steps, arguments.cfg, arguments.sampler)
    names = dict.fromkeys(arguments.methods)
    arms = [arm(name, settings, arguments.switch_every, sampling) for name in names]
    more: list[MethodArm] = []
    for text in arguments.sweep:
        name, equals, values = text.partition("=")
        if not equals:
            raise InputError(f"--sweep {text} has no values; write a name and values: temperature=0.5,1,2")
        name = name.strip().replace("-", "_")
        more += swept(arms, name, values_of(name, values))
    return [*arms, *more]


def _concerns(one: MethodArm, name: str) -> bool:
    if name in ("cfg", "steps") or (name == "recenter" and one.method == "merge-recentred"):
        return True
    return one.method == ("switch" if name == "switch_every" else "loratorio")


def _with(one: MethodArm, name: str, value: Value) -> MethodArm:
    called = f"{one.name} {name}={value}"
    if name in ("cfg", "steps"):
        return replace(one, name=called, sampling=replace(one.sampling, **{name: value}))  # type: ignore[arg-type]
    if name == "switch_every":
        return replace(one, name=called, switch_every=int(value))
    changed = {**one.settings.to_dict(), name: value}
    return replace(one, name=called, settings=Settings.from_dict(changed))
