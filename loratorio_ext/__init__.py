"""Compose several LoRA networks in one picture: LoRAtorio (arXiv 2508.11624) and what is around it."""

from __future__ import annotations

__version__ = "0.1.0"
