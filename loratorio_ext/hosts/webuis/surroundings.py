"""What both WebUIs keep in the same form: options, and who may use the API. Nothing here imports either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loratorio_ext.server.options import OPTIONS, option_key


def values_of_options(opts: Any) -> dict[str, object]:
    """Our options by name, as far as the WebUI knows them (``shared.opts``)."""
    keys = {one.name: option_key(one.name) for one in OPTIONS}
    return {name: getattr(opts, key) for name, key in keys.items() if hasattr(opts, key)}


def credentials_in(text: str | None) -> Mapping[str, str] | None:
    """User → password of ``--api-auth``, read as the WebUI reads it (modules/api/api.py); None: no passwords.

    Raises:
        ValueError: a part is not ``user:password``; the WebUI's own API does not start then.
    """
    if not text:
        return None
    pairs = [part.split(":") for part in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("--api-auth must be user:password, several parted by commas")
    return {pair[0]: pair[1] for pair in pairs}
