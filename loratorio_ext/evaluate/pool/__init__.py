"""Dynamic selection measured: a whole pool is loaded, and the prompt names no network."""

from __future__ import annotations
