"""The ways of combining networks that are compared, and the controls that tell what does the work."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from loratorio_ext.run import Method
from loratorio_ext.settings import Settings

REFERENCE: Final = "loratorio"
"""The arm that all others are compared with."""

ARM_NAMES: Final = (
    "base",
    "merge",
    "switch",
    "composite",
    REFERENCE,
    "loratorio-not-recentred",
    "uniform-recentred",
)

# The highest temperature that the setting allows: weights equal to 1/N to four digits.
_UNIFORM: Final = 1000.0


@dataclass(frozen=True)
class Arm:
    """One way, with everything that decides its pictures but the task.

    Attributes:
        name: one of ``ARM_NAMES``.
        method: what the run does.
        settings: of the composition; the usual ways do not read them.
        switch_every: evaluations after which Switch moves on.
    """

    name: str
    method: Method
    settings: Settings
    switch_every: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "settings": self.settings.to_dict()}


def arm(name: str, settings: Settings, switch_every: int) -> Arm:
    """The arm of a name.

    "loratorio-not-recentred" is LoRAtorio at λ = 0, "uniform-recentred" has weights of 1/N everywhere
    (τ → ∞), which is Composite with LoRAtorio's unconditional.

    Raises:
        ValueError: there is no such arm.
    """
    if name == "loratorio-not-recentred":
        return Arm(name, "loratorio", replace(settings, recenter=0.0), switch_every)
    if name == "uniform-recentred":
        return Arm(name, "loratorio", replace(settings, temperature=_UNIFORM), switch_every)
    if name not in ARM_NAMES:
        raise ValueError(f"no arm {name!r}; give one of: {', '.join(ARM_NAMES)}")
    return Arm(name, name, settings, switch_every)  # type: ignore[arg-type]  # the other names are methods
