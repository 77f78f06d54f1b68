from __future__ import annotations

from ldm_patched.modules.model_base import BaseModel as KModel  # noqa: F401
