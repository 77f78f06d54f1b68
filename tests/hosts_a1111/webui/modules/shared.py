from __future__ import annotations

from types import SimpleNamespace

opts = SimpleNamespace(
    persistent_cond_cache=True,
    batch_cond_uncond=True,
    pad_cond_uncond=False,
    pad_cond_uncond_v0=False,
    skip_early_cond=0.0,
    s_min_uncond_all=False,
)
state = SimpleNamespace(textinfo=None, interrupted=False)
cmd_opts = SimpleNamespace(lora_dir="")
sd_model = None
