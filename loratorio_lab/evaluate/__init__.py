"""Evidence: which way of combining networks draws what was asked for, measured on the embedded world."""

from __future__ import annotations
