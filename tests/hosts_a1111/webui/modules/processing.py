"""One generation: activation of networks, conditions with their caches, sampling, a hires pass if wanted."""

from __future__ import annotations

import networks
import torch

from modules import (
    extra_networks,
    images,
    prompt_parser,
    sd_samplers_cfg_denoiser,
    sd_samplers_common,
    sd_samplers_timesteps,
    shared,
)


def activate(p, extra_network_data):
    names, te, unet, dyn = [], [], [], []
    for params in extra_network_data.get("lora", []) + extra_network_data.get("lyco", []):
        te_multiplier = float(params.positional[1]) if len(params.positional) > 1 else 1.0
        te_multiplier = float(params.named.get("te", te_multiplier))
        unet_multiplier = float(params.positional[2]) if len(params.positional) > 2 else te_multiplier
        names.append(params.positional[0])
        te.append(te_multiplier)
        unet.append(float(params.named.get("unet", unet_multiplier)))
        dyn.append(int(params.positional[3]) if len(params.positional) > 3 else None)
    networks.load_networks(names, te, unet, dyn)
    for script in p.scripts:
        script.after_extra_networks_activate(
            p, *p.script_args, batch_number=0, prompts=p.prompts, extra_network_data=extra_network_data
        )


class StableDiffusionProcessing:
    cached_uc = [None, None]
    cached_c = [None, None]
    is_hr_pass = False

    def __init__(self, prompts, negative="", seed=1, steps=4, cfg_scale=5.0, timesteps=False, **fields):
        self.all_prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        self.all_negative_prompts = [negative] * len(self.all_prompts)
        self.seed, self.steps, self.cfg_scale, self.timesteps = seed, steps, cfg_scale, timesteps
        self.s_min_uncond = 0.0
        self.image_cfg_scale = None
        self.n_iter = 1
        self.iteration = 0
        self.scripts, self.script_args = [], []
        self.extra_generation_params = {}
        self.comments = {}
        self.c = self.uc = None
        self.cached_uc = StableDiffusionProcessing.cached_uc
        self.cached_c = StableDiffusionProcessing.cached_c
        self.outpath_samples = None
        self.do_not_save_samples = True
        for name, value in fields.items():
            setattr(self, name, value)
        self.batch_size = len(self.all_prompts) // self.n_iter
        self.all_seeds = [seed + place for place in range(len(self.all_prompts))]

    @property
    def scripts(self):
        return self.scripts_value

    @scripts.setter
    def scripts(self, value):
        self.scripts_value = value

    @property
    def script_args(self):
        return self.script_args_value

    @script_args.setter
    def script_args(self, value):
        self.script_args_value = value

    def save_samples(self):
        opts, state = shared.opts, shared.state
        whole = opts.save_incomplete_images or (not state.interrupted and not state.skipped)
        return opts.samples_save and not self.do_not_save_samples and whole

    def comment(self, text):
        self.comments[text] = 1

    def get_conds_with_caching(self, function, required_prompts, steps, caches, extra_network_data):
        key = (required_prompts, steps, shared.sd_model.sd_checkpoint_info, extra_network_data)
        for cache in caches:
            if cache[0] is not None and cache[0] == key:
                return cache[1]
        caches[0][1] = function(shared.sd_model, required_prompts, steps)
        caches[0][0] = key
        return caches[0][1]

    def setup_conds(self):
        find = self.get_conds_with_caching
        self.uc = find(
            prompt_parser.get_learned_conditioning,
            self.negative_prompts,
            self.steps,
            [self.cached_uc],
            self.extra_network_data,
        )
        self.c = find(
            prompt_parser.get_multicond_learned_conditioning,
            self.prompts,
            self.steps,
            [self.cached_c],
            self.extra_network_data,
        )

    def get_conds(self):
        return self.c, self.uc

    def sample(self, x):
        """Euler's method on sigmas, or DDIM's on timesteps."""
        for script in self.scripts:
            script.process_before_every_sampling(self, *self.script_args, x=x, noise=x, c=None, uc=None)
        sampler = sd_samplers_common.Sampler()
        kind = (
            sd_samplers_timesteps.CFGDenoiserTimesteps
            if self.timesteps
            else sd_samplers_cfg_denoiser.CFGDenoiserKDiffusion
        )
        denoiser = kind(sampler)
        denoiser.p, denoiser.total_steps = self, self.steps
        c, uc = self.get_conds()
        sampler.sampler_extra_args = {
            "cond": c,
            "uncond": uc,
            "cond_scale": self.cfg_scale,
            "s_min_uncond": self.s_min_uncond,
            "image_cond": torch.zeros(len(x), 5, 1, 1),
        }
        if self.timesteps:
            return self._ddim(denoiser, sampler, x)
        sigmas = torch.linspace(6.0, 0.0, self.steps + 1)
        x = x * sigmas[0]
        for now, following in zip(sigmas, sigmas[1:], strict=False):
            try:
                denoised = denoiser.forward(x, now.repeat(len(x)), **sampler.sampler_extra_args)
            except sd_samplers_common.InterruptedException:
                return x
            x = x + (x - denoised) / now * (following - now)
        return x

    def _ddim(self, denoiser, sampler, x):
        alphas = shared.sd_model.alphas_cumprod
        for time in torch.linspace(900, 100, self.steps):
            a, b = alphas[int(time)], alphas[max(int(time) - 800 // self.steps, 0)]
            noise = denoiser.forward(x, time.repeat(len(x)), **sampler.sampler_extra_args)
            x = b.sqrt() * (x - (1 - a).sqrt() * noise) / a.sqrt() + (1 - b).sqrt() * noise
        return x


class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    cached_hr_uc = [None, None]
    cached_hr_c = [None, None]

    def __init__(self, prompts, hr_prompts=None, **fields):
        super().__init__(prompts, **fields)
        self.all_hr_prompts = hr_prompts
        self.hr_c = self.hr_uc = None
        self.cached_hr_uc = StableDiffusionProcessingTxt2Img.cached_hr_uc
        self.cached_hr_c = StableDiffusionProcessingTxt2Img.cached_hr_c

    def calculate_hr_conds(self):
        if self.hr_c is not None:
            return
        find = self.get_conds_with_caching
        self.hr_uc = find(
            prompt_parser.get_learned_conditioning,
            self.negative_prompts,
            self.steps,
            [self.cached_hr_uc, self.cached_uc],
            self.hr_extra_network_data,
        )
        self.hr_c = find(
            prompt_parser.get_multicond_learned_conditioning,
            self.hr_prompts,
            self.steps,
            [self.cached_hr_c, self.cached_c],
            self.hr_extra_network_data,
        )

    def setup_conds(self):
        if self.is_hr_pass:
            self.hr_c = None
            self.calculate_hr_conds()
            return
        super().setup_conds()
        self.hr_uc = self.hr_c = None

    def get_conds(self):
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else super().get_conds()


class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    mask_for_overlay = None


class PostSampleArgs:
    def __init__(self, samples):
        self.samples = samples


class Processed:
    def __init__(
        self,
        p,
        images_list,
        seed=-1,
        info="",
        subseed=None,
        all_prompts=None,
        all_negative_prompts=None,
        all_seeds=None,
        all_subseeds=None,
        index_of_first_image=0,
        infotexts=None,
        comments="",
    ):
        self.images = images_list
        self.info = info
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.extra_generation_params = p.extra_generation_params
        self.index_of_first_image = index_of_first_image
        self.all_prompts = all_prompts or p.all_prompts
        self.all_seeds = all_seeds or p.all_seeds
        self.infotexts = infotexts or [info] * len(images_list)


def create_infotext(p, index):
    return f"{p.all_prompts[index]}\nSeed: {p.all_seeds[index]}"


def _finished(p, latents):
    """The pictures of all batches, each with its masks, and a grid in front."""
    output_images, infotexts = [], []
    for batch, samples in enumerate(latents):
        p.iteration = batch
        for place in range(len(samples)):
            p.batch_index = place
            index = batch * p.batch_size + place
            image = sd_samplers_common.sample_to_image(samples, place)
            if p.save_samples():
                images.save_image(image, p.outpath_samples, "", p.all_seeds[index], p.prompts[place], p=p)
            infotexts.append(create_infotext(p, index))
            image.info["parameters"] = infotexts[-1]
            output_images.append(image)
            mask = getattr(p, "mask_for_overlay", None)
            if mask is not None:
                output_images += [mask] * (shared.opts.return_mask + shared.opts.return_mask_composite)
    if not infotexts:
        infotexts.append(create_infotext(p, 0))
    grid = shared.opts.return_grid and len(output_images) > 1
    if grid:
        output_images.insert(0, images.image_grid(output_images, p.batch_size))
        infotexts.insert(0, infotexts[0])
    return Processed(p, output_images, info=infotexts[0], index_of_first_image=int(grid), infotexts=infotexts)


def process_images(p):
    """Latents [images, 4, 8, 8], or [images, 4, 16, 16] after a hires pass, of all batches."""
    with torch.no_grad():
        for script in p.scripts:
            script.process(p, *p.script_args)
        size = p.batch_size
        parts = []
        for iteration in range(p.n_iter):
            p.iteration = iteration
            shared.state.skipped = False
            if shared.state.interrupted:
                break
            place = slice(p.iteration * size, (p.iteration + 1) * size)
            p.negative_prompts = p.all_negative_prompts[place]
            p.prompts, p.extra_network_data = extra_networks.parse_prompts(p.all_prompts[place])
            activate(p, p.extra_network_data)
            for script in p.scripts:
                script.process_batch(p, *p.script_args, batch_number=iteration, prompts=p.prompts)
            p.setup_conds()
            parts.append(_sample_batch(p))
            for script in p.scripts:
                script.post_sample(p, PostSampleArgs(parts[-1]), *p.script_args)
        p.processed = processed = _finished(p, parts)
        for script in p.scripts:
            script.postprocess(p, processed, *p.script_args)
    return torch.cat(parts)


def _sample_batch(p):
    generator = torch.Generator().manual_seed(p.seed)
    x = torch.cat([torch.randn(1, 4, 8, 8, generator=generator) for _ in p.prompts])
    x = p.sample(x)
    if getattr(p, "all_hr_prompts", None):
        p.is_hr_pass = True
        p.hr_prompts, p.hr_extra_network_data = extra_networks.parse_prompts(p.all_hr_prompts)
        activate(p, p.hr_extra_network_data)
        p.calculate_hr_conds()
        x = p.sample(x.repeat_interleave(2, 2).repeat_interleave(2, 3) / 6)
        p.is_hr_pass = False
    return x
