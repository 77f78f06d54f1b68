from __future__ import annotations

from modules import cmd_args, options, shared_options, shared_state

OptionInfo = options.OptionInfo
options_section = options.options_section
opts = options.Options(shared_options.options)
state = shared_state.State()
cmd_opts = cmd_args.parser.parse_args([])
cmd_opts.lora_dir = ""
sd_model = None
