from __future__ import annotations

from types import SimpleNamespace

from modules import shared_options, shared_state

opts = SimpleNamespace(**shared_options.options, sd_lora="None")
state = shared_state.State()
cmd_opts = SimpleNamespace(lora_dir="")
sd_model = None
