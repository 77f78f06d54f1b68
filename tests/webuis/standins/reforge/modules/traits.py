"""What a WebUI does otherwise than Forge."""

from __future__ import annotations

UNCOND_AT_CFG_1 = True
HIRES_ANNOUNCED_TWICE = False
NAME = "reForge"
