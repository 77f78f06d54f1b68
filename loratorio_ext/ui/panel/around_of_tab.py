"""Components of a WebUI's tab, noticed while the WebUI builds it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

from loratorio_ext.ui.panel.around import Around

# End of the element's id behind "txt2img_" or "img2img_" (modules/ui.py) → field of Around.
_FIELDS: Final = MappingProxyType(
    {"prompt": "prompt", "steps": "steps", "cfg_scale": "guidance", "batch_size": "images"}
)


class AroundOfTab:
    """Collects them until the panel is built."""

    def __init__(self) -> None:
        """Nothing is noticed yet."""
        self._found: dict[str, Any] = {}

    def notice(self, component: Any, elem_id: object, is_img2img: bool) -> None:
        """A component has been made (``Script.after_component``)."""
        tab = "img2img" if is_img2img else "txt2img"
        field = _FIELDS.get(str(elem_id).removeprefix(f"{tab}_"))
        if field is not None and str(elem_id).startswith(tab):
            self._found[field] = component

    def take(self) -> Around:
        """What has been noticed, once.

        The WebUI's API builds the panel again, outside of the page, where these components must not be used.
        """
        found, self._found = self._found, {}
        return Around(**found)
