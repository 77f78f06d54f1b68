"""Guidance around the model: one call a step, rows of all conditions first, then a row for each image."""

from __future__ import annotations

import torch

from modules import prompt_parser, script_callbacks, sd_samplers_common, shared


def _joined(first, second):
    if isinstance(first, dict):
        return {name: torch.cat((first[name], second[name])) for name in first}
    return torch.cat((first, second))


def _part(text, a, b):
    return {name: part[a:b] for name, part in text.items()} if isinstance(text, dict) else text[a:b]


class CFGDenoiser:
    def __init__(self, sampler):
        self.sampler = sampler
        self.p = None
        self.step = 0
        self.total_steps = None
        self.model_wrap = None

    @property
    def inner_model(self):
        raise NotImplementedError()

    def get_pred_x0(self, x_in, x_out, sigma):
        return x_out

    def pad_cond_uncond(self, cond, uncond):
        empty = shared.sd_model.cond_stage_model_empty_prompt
        repeats = (cond.shape[1] - uncond.shape[1]) // empty.shape[1]
        filling = empty.repeat((cond.shape[0], abs(repeats), 1))
        if repeats > 0:
            return cond, torch.cat([uncond, filling[: uncond.shape[0]]], 1)
        return torch.cat([cond, filling], 1), uncond

    def pad_cond_uncond_v0(self, cond, uncond):
        missing = cond.shape[1] - uncond.shape[1]
        if missing > 0:
            return cond, torch.cat([uncond, uncond[:, -1:].repeat(1, missing, 1)], 1)
        return cond, uncond[:, : cond.shape[1]]

    def combine_denoised(self, x_out, conds_list, uncond, cond_scale):
        base = x_out[-uncond.shape[0] :]
        result = base.clone()
        for image, conds in enumerate(conds_list):
            for row, weight in conds:
                result[image] += (x_out[row] - base[image]) * (weight * cond_scale)
        return result

    def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
        if shared.state.interrupted or shared.state.skipped:
            raise sd_samplers_common.InterruptedException
        if self.p.apply_refiner(self):
            self.model_wrap = None
            cond, uncond = (self.sampler.sampler_extra_args[name] for name in ("cond", "uncond"))
        conds_list, tensor = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        images = len(conds_list)
        owners = [image for image, conds in enumerate(conds_list) for _ in conds] + list(range(images))
        params = script_callbacks.CFGDenoiserParams(
            x[owners], image_cond[owners], sigma[owners], 0, self.total_steps, tensor, uncond, self
        )
        script_callbacks.call(script_callbacks.denoiser_callbacks, params)
        x_in, sigma_in, tensor, uncond = params.x, params.sigma, params.text_cond, params.text_uncond
        opts = shared.opts
        skip = opts.skip_early_cond != 0 and self.step / self.total_steps <= opts.skip_early_cond
        if (self.step % 2 or opts.s_min_uncond_all) and s_min_uncond > 0 and sigma[0] < s_min_uncond:
            skip = True
        if skip:
            x_in, sigma_in = x_in[:-images], sigma_in[:-images]
        if tensor.shape[1] != uncond.shape[1]:
            if opts.pad_cond_uncond_v0:
                tensor, uncond = self.pad_cond_uncond_v0(tensor, uncond)
            elif opts.pad_cond_uncond:
                tensor, uncond = self.pad_cond_uncond(tensor, uncond)

        def predict(a, b, text):
            image = params.image_cond[a:b]
            if isinstance(text, dict):
                return self.inner_model(x_in[a:b], sigma_in[a:b], cond={**text, "c_concat": [image]})
            condition = {"c_crossattn": [text], "c_concat": [image]}
            return self.inner_model(x_in[a:b], sigma_in[a:b], cond=condition)

        rows = tensor.shape[0]
        together = skip or tensor.shape[1] == uncond.shape[1]
        if together and opts.batch_cond_uncond:
            x_out = predict(0, len(x_in), tensor if skip else _joined(tensor, uncond))
        else:
            size = images if not opts.batch_cond_uncond else 2 * images
            ends = [(a, min(a + size, rows)) for a in range(0, rows, size)]
            parts = [predict(a, b, _part(tensor, a, b)) for a, b in ends]
            if not skip:
                parts.append(predict(rows, rows + images, uncond))
            x_out = torch.zeros_like(x_in)  # in the sampler's dtype, whatever the model's
            x_out[:] = torch.cat(parts)
        firsts = [conds[0][0] for conds in conds_list]
        if skip:
            x_out = torch.cat([x_out, x_out[firsts]])
        denoised = script_callbacks.CFGDenoisedParams(x_out, 0, self.total_steps, self.inner_model)
        script_callbacks.call(script_callbacks.denoised_callbacks, denoised)
        result = self.combine_denoised(x_out, conds_list, uncond, 1.0 if skip else cond_scale)
        self.step += 1
        return result


class CompVisDenoiser(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.inner_model = model

    def forward(self, x, sigma, cond):
        scale = sigma[:, None, None, None]
        return x - scale * self.inner_model.apply_model(x / (1 + scale**2).sqrt(), sigma * 100, cond)


class CFGDenoiserKDiffusion(CFGDenoiser):
    @property
    def inner_model(self):
        if self.model_wrap is None:
            self.model_wrap = CompVisDenoiser(shared.sd_model)
        return self.model_wrap
