"""What the WebUI hands a script as its arguments, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loratorio_ext.setting import shown
from loratorio_ext.settings import SETTINGS, Settings

_EXAMPLE: Final = '[{"patch_size": 2}]'


def settings_from_arguments(arguments: Sequence[object]) -> Settings:
    """Settings from a script's arguments, as the WebUI hands them on.

    Either the values of all controls in the order of ``SETTINGS`` (what the page sends; the API may leave out
    the last ones), or, friendlier for the API, one dict of named settings as the first argument. Such a dict
    means "on" unless it says otherwise. What stands behind it is not read: the WebUI writes a request's
    arguments over the defaults of all controls, so those of the others follow (modules/api/api.py,
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
            f"{SETTINGS[0].name} to {SETTINGS[-1].name}, or one object with names: {_EXAMPLE}, say"
        )
    return Settings.from_dict({one.name: value for one, value in zip(SETTINGS, arguments, strict=False)})


def settings_from_request(arguments: Sequence[object]) -> Settings:
    """The same from arguments as a user has sent them: a dict of named settings stands alone.

    Raises:
        ValueError: likewise, or something stands beside the dict.
    """
    if len(arguments) > 1 and isinstance(arguments[0], dict):
        raise ValueError(
            f"{shown(arguments[1])} stands behind an object with names; give all settings in one object: "
            f"{_EXAMPLE}, say"
        )
    return settings_from_arguments(arguments)
