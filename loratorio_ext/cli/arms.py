"""The ways of combining networks that the options of `evaluate` ask for."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from loratorio_ext.cli.console import InputError
from loratorio_ext.cli.option_types import settings_from

if TYPE_CHECKING:
    from loratorio_ext.evaluate.arms import Arm


def arms_from(arguments: Namespace) -> list[Arm]:
    """Every method once, then every sweep.

    Raises:
        ValueError: a sweep that cannot be; InputError, which is one, where it has no values.
    """
    from loratorio_ext.evaluate.arms import Sampling, arm, swept, values_of

    settings, sampling = settings_from(arguments), Sampling(arguments.steps, arguments.cfg)
    names = dict.fromkeys(arguments.methods)
    arms = [arm(name, settings, arguments.switch_every, sampling) for name in names]
    more: list[Arm] = []
    for text in arguments.sweep:
        name, equals, values = text.partition("=")
        if not equals:
            raise InputError(f"--sweep {text} has no values; write a name and values: temperature=0.5,1,2")
        name = name.strip().replace("-", "_")
        more += swept(arms, name, values_of(name, values))
    return [*arms, *more]
