"""Guidance: the callback, then one evaluation by the backend."""

from __future__ import annotations

from backend.sampling.sampling_function import sampling_function

from modules import prompt_parser, script_callbacks, sd_samplers_common, shared


class CFGDenoiser:
    def __init__(self, sampler):
        self.sampler = sampler
        self.p = None
        self.step = 0
        self.total_steps = None

    @property
    def inner_model(self):
        raise NotImplementedError()

    def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
        if shared.state.interrupted or shared.state.skipped:
            raise sd_samplers_common.InterruptedException
        if self.p.apply_refiner(self):
            cond, uncond = (self.sampler.sampler_extra_args[name] for name in ("cond", "uncond"))
        composition, cond = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = None if uncond is None else prompt_parser.reconstruct_cond_batch(uncond, self.step)
        params = script_callbacks.CFGDenoiserParams(
            x, image_cond, sigma, 0, self.total_steps, cond, uncond, self
        )
        script_callbacks.call(script_callbacks.denoiser_callbacks, params)
        if self.p.is_hr_pass:
            cond_scale = self.p.hr_cfg
        opts = shared.opts
        if 0 < opts.skip_early_cond >= self.step / self.total_steps:
            cond_scale = 1.0
        if (self.step % 2 or opts.s_min_uncond_all) and s_min_uncond > 0 and sigma[0] < s_min_uncond:
            cond_scale = 1.0
        denoised, _, _ = sampling_function(self, params, cond_scale, composition)
        self.step += 1
        return denoised
