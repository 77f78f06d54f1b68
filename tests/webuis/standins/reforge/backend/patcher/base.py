from __future__ import annotations

from ldm_patched.modules.model_patcher import ModelPatcher  # noqa: F401
