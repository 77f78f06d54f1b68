from __future__ import annotations


class dynamic_args:
    online_lora = False
    nunchaku = False
    ref_latents = []
    concat_latent = None
    context_handler = None
