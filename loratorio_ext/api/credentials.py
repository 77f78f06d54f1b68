"""Who may ask: HTTP basic authentication, as the WebUI's own API has it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from secrets import compare_digest

from fastapi.openapi.models import HTTPBase
from fastapi.security.base import SecurityBase


def may_ask(credentials: Mapping[str, str] | None, header: str | None) -> bool:
    """Whether the Authorization header names a user with the right password.

    Args:
        credentials: user → password; None: everybody may.
        header: the header's value, or None. Never raises on any text.
    """
    if credentials is None:
        return True
    scheme, _, encoded = (header or "").partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
    except (ValueError, binascii.Error):
        return False
    if scheme.lower() != "basic" or not colon:
        return False
    # Every user is compared, so that the time says nothing about which users there are.
    fits = [
        compare_digest(user, name.encode()) & compare_digest(password, secret.encode())
        for name, secret in credentials.items()
    ]
    return any(fits)


class DocumentedBasic(SecurityBase):
    """Says in the API's description that a user and a password are wanted; `may_ask` looks at them."""

    def __init__(self) -> None:
        self.model = HTTPBase(scheme="basic")
        self.scheme_name = "HTTPBasic"

    async def __call__(self) -> None:
        """Lets everybody pass."""
