"""Guidance: the callback, modifiers of conditions, then one evaluation."""

from __future__ import annotations

from backend.sampling.condition import Condition
from ldm_patched.modules.samplers import sampling_function
from modules_forge import forge_sampler

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

    def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond, **kwargs):
        if shared.state.interrupted or shared.state.skipped:
            raise sd_samplers_common.InterruptedException
        if self.p.apply_refiner(self):
            cond, uncond = (self.sampler.sampler_extra_args[name] for name in ("cond", "uncond"))
        composition, cond = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        params = script_callbacks.CFGDenoiserParams(
            x, image_cond, sigma, 0, self.total_steps, cond, uncond, self
        )
        script_callbacks.call(script_callbacks.denoiser_callbacks, params)
        if self.p.is_hr_pass:
            cond_scale = self.p.hr_cfg
        opts = shared.opts
        skip_uncond = s_min_uncond > 0 and sigma[0] < s_min_uncond
        skip_uncond = skip_uncond and bool(self.step % 2 == 0 or opts.s_min_uncond_all)
        skip_uncond = skip_uncond or 0 < opts.skip_early_cond >= self.step / self.total_steps
        return self._evaluate(params, x, sigma, cond_scale, composition, skip_uncond)

    def _evaluate(self, params, x, sigma, cond_scale, composition, skip_uncond):
        unet = shared.sd_model.forge_objects.unet
        model, options = unet.model, unet.model_options
        uncond = forge_sampler.cond_from_a1111_to_patched_ldm(params.text_uncond)
        cond = forge_sampler.cond_from_a1111_to_patched_ldm_weighted(params.text_cond, composition)
        for part in (*cond, *uncond):
            if unet.extra_concat_condition is not None:
                part["model_conds"]["c_concat"] = Condition(unet.extra_concat_condition)
            if unet.controlnet_linked_list is not None:
                part["control"] = unet.controlnet_linked_list
        for modifier in options.get("conditioning_modifiers", []):
            model, x, sigma, uncond, cond, cond_scale, options, _ = modifier(
                model, x, sigma, uncond, cond, cond_scale, options, 0
            )
        if skip_uncond:
            uncond, cond_scale = None, 1.0
        denoised = sampling_function(model, x, sigma, uncond, cond, cond_scale, options, 0)
        self.step += 1
        return denoised
