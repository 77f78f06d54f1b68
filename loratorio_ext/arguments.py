"""What the WebUI hands a script as its arguments, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence

from loratorio_ext.settings import SETTINGS, Settings


def settings_from_arguments(arguments: Sequence[object]) -> Settings:
    """Settings from a script's arguments.

    Either the values of all controls in the order of ``SETTINGS`` (what the page sends; the API may leave out
    the last ones), or, friendlier for the API, one dict of named settings as the first argument. Such a dict
    means "on" unless it says otherwise.

    Raises:
        ValueError: an unknown name, or a value that is not allowed; names it and what is allowed.
    """
    if arguments and isinstance(arguments[0], dict):
        return Settings.from_dict({"enabled": True, **arguments[0]})
    return Settings.from_dict({one.name: value for one, value in zip(SETTINGS, arguments, strict=False)})
