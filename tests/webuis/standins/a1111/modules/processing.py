from __future__ import annotations

import torch

from modules import extra_networks, processing_common, sd_samplers_cfg_denoiser, sd_samplers_timesteps, shared
from modules.processing_common import PostSampleArgs, Processed  # noqa: F401


class StableDiffusionProcessing(processing_common.StableDiffusionProcessing):
    def __init__(self, prompts, timesteps=False, **fields):
        self.timesteps = timesteps
        self.image_cfg_scale = None
        super().__init__(prompts, **fields)

    def setup_conds(self):
        self.c, self.uc = self.find_conds(
            self.prompts, self.extra_network_data, [self.cached_uc], [self.cached_c]
        )

    def sample(self, x):
        """Euler's method on sigmas, or DDIM's on timesteps."""
        self.before_every_sampling(x)
        sampler = self.new_sampler(x, *self.get_conds())
        if self.timesteps:
            return self._ddim(sd_samplers_timesteps.CFGDenoiserTimesteps(sampler), sampler, x)
        return self.euler(sd_samplers_cfg_denoiser.CFGDenoiserKDiffusion(sampler), sampler, x)

    def _ddim(self, denoiser, sampler, x):
        denoiser.p, denoiser.total_steps = self, self.steps
        alphas = shared.sd_model.alphas_cumprod
        for time in torch.linspace(900, 100, self.steps):
            a, b = alphas[int(time)], alphas[max(int(time) - 800 // self.steps, 0)]
            noise = denoiser.forward(x, time.repeat(len(x)), **sampler.sampler_extra_args)
            self.progress.append(shared.state.textinfo)
            x = b.sqrt() * (x - (1 - a).sqrt() * noise) / a.sqrt() + (1 - b).sqrt() * noise
        return x


class StableDiffusionProcessingTxt2Img(
    processing_common.StableDiffusionProcessingTxt2Img, StableDiffusionProcessing
):
    pass


class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    mask_for_overlay = None


@torch.no_grad()
def process_images(p):
    return processing_common.process(p, _sample_batch, Processed)


def _sample_batch(p):
    x = p.sample(processing_common.first_latents(p))
    if p.enable_hr:
        p.is_hr_pass = True
        extra_networks.activate(p, p.hr_extra_network_data)
        p.calculate_hr_conds()
        x = p.sample(processing_common.enlarged(x))
        p.is_hr_pass = False
    return x
