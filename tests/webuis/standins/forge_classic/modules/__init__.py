"""What of Forge Classic is not as in reForge: its stand-in is this folder, then reForge's."""

from __future__ import annotations

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
