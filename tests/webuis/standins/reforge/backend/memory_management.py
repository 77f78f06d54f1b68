from __future__ import annotations

from ldm_patched.modules.model_management import *  # noqa: F403
