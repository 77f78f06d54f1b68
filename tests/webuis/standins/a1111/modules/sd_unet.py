from __future__ import annotations

current_unet = None
