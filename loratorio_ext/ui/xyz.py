"""Axes for the WebUI's "X/Y/Z plot" script, made from the settings.

That script (scripts/xyz_grid.py) copies the generation ``p`` for every picture and lets each axis change the
copy. The copy is shallow, so the values are put on it in a dict that is made anew each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from loratorio_ext.setting import Setting, Value
from loratorio_ext.settings import SETTINGS, Settings

PREFIX: Final = "[LoRAtorio] "
"""Stands before the label of every axis; labels are stored in pictures and must not change."""

ATTRIBUTE: Final = "loratorio_xyz"
"""The attribute of ``p`` that holds the axes' values of one picture."""

_SWITCH: Final = "enabled"


def label_of(setting: Setting) -> str:
    """The axis's label."""
    return PREFIX + ("Enabled" if setting.name == _SWITCH else setting.label)


def axes(axis_option: Callable[..., Any]) -> list[Any]:
    """One axis for every setting worth comparing, in the order of the settings.

    ``axis_option``: the WebUI's class ``AxisOption``. Values that are not allowed are refused by ``confirm``,
    with a ValueError and before any picture is drawn.
    """
    # How many rows share a model call changes no picture; there is nothing to compare.
    return [_axis(axis_option, one) for one in SETTINGS if one.name != "batch_rows"]


def register(plot: Any) -> None:
    """Add the axes to the script's module once; ``None`` (there is no such script): nothing."""
    if plot is None or any(str(one.label).startswith(PREFIX) for one in plot.axis_options):
        return
    plot.axis_options.extend(axes(plot.AxisOption))


def find_plot(scripts_data: Iterable[Any]) -> Any | None:
    """The module of the script in the WebUI's list ``modules.scripts.scripts_data``, or None.

    The WebUI names a script's module by its file, so it cannot be imported by name.
    """
    names = ("xyz_grid.py", "scripts.xyz_grid")
    found = (one.module for one in scripts_data if one.script_class.__module__ in names)
    return next((module for module in found if hasattr(module, "axis_options")), None)


def settings_with_axes(p: Any, settings: Settings) -> Settings:
    """The settings of one picture of a plot; ``settings`` as they are where no axis of ours is in use.

    Whoever plots a setting wants to see what it does, so the plot switches LoRAtorio on, unless the axis
    "Enabled" says otherwise.

    Raises:
        ValueError: values that do not go together, such as a start after the end.
    """
    values: dict[str, Value] = getattr(p, ATTRIBUTE, {})
    if not values:
        return settings
    return Settings.from_dict({**settings.to_dict(), _SWITCH: True, **values})


def _axis(axis_option: Callable[..., Any], setting: Setting) -> Any:
    def read(value: object) -> Value:
        # As many places as the labels of a plot show; a range leaves rounding errors (0.30000000000000004).
        return setting.parse(str(round(value, 8) if isinstance(value, float) else value))

    def confirm(p: Any, values: Sequence[object]) -> None:
        for value in values:
            read(value)

    def apply(p: Any, value: object, values: Sequence[object]) -> None:
        setattr(p, ATTRIBUTE, {**getattr(p, ATTRIBUTE, {}), setting.name: read(value)})

    words = ("True", "False") if setting.type is bool else setting.choices
    return axis_option(
        label_of(setting),
        # The plot reads ranges such as "1-5 (+2)" for these two types; bool("False") would be True.
        setting.type if setting.type in (int, float) else str,
        apply,
        confirm=confirm,
        # The axis with the highest cost changes least often: the networks of a pool have to be read.
        cost=0.2 if setting.name == "pool" else 0.0,
        choices=(lambda: list(words)) if words else None,
    )
