from __future__ import annotations

from modules import shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiser


class CFGDenoiserTimesteps(CFGDenoiser):
    def get_pred_x0(self, x_in, x_out, sigma):
        a = shared.sd_model.alphas_cumprod[sigma.long()][:, None, None, None]
        return (x_in - (1 - a).sqrt() * x_out) / a.sqrt()

    @property
    def inner_model(self):
        model = shared.sd_model
        return lambda x, timesteps, cond: model.apply_model(x, timesteps, cond)
