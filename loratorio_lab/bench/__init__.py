"""What the router and the method cost, measured beside the other ways to get the same predictions."""

from __future__ import annotations
