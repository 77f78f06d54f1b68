from __future__ import annotations

import torch

from modules import shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiser


class CompVisTimestepsDenoiser(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.inner_model = model

    def forward(self, x, timesteps, cond):
        return self.inner_model.apply_model(x, timesteps, cond)


class CFGDenoiserTimesteps(CFGDenoiser):
    def get_pred_x0(self, x_in, x_out, sigma):
        a = shared.sd_model.alphas_cumprod[sigma.long()][:, None, None, None]
        return (x_in - (1 - a).sqrt() * x_out) / a.sqrt()

    @property
    def inner_model(self):
        if self.model_wrap is None:
            self.model_wrap = CompVisTimestepsDenoiser(shared.sd_model)
        return self.model_wrap
