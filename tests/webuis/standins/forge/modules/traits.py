"""What relatives do otherwise."""

from __future__ import annotations

UNCOND_AT_CFG_1 = False  # encoded then too
HIRES_ANNOUNCED_TWICE = True
NAME = "Forge"
