"""One generation: activation of networks, conditions with their caches, sampling, a hires pass if wanted."""

from __future__ import annotations

import networks
import torch
from backend import memory_management
from backend.sampling.sampling_function import sampling_prepare

from modules import (
    extra_networks,
    images,
    prompt_parser,
    sd_samplers_cfg_denoiser,
    sd_samplers_common,
    shared,
)


def activate(p, extra_network_data):
    """An error of a network leaves none of them."""
    try:
        networks.activate(extra_network_data.get("lora", []))
    except Exception:
        networks.activate([])
    for script in p.scripts:
        script.after_extra_networks_activate(
            p, *p.script_args, batch_number=0, prompts=p.prompts, extra_network_data=extra_network_data
        )


class StableDiffusionProcessing:
    cached_uc = [None, None, None]
    cached_c = [None, None, None]
    is_hr_pass = False

    def __init__(self, prompts, negative="", seed=1, steps=4, cfg_scale=5.0, **fields):
        self.all_prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        self.all_negative_prompts = [negative] * len(self.all_prompts)
        self.seed, self.steps, self.cfg_scale = seed, steps, cfg_scale
        self.hr_cfg = cfg_scale
        self.s_min_uncond = 0.0
        self.n_iter = 1
        self.iteration = 0
        self.scripts, self.script_args = [], []
        self.extra_generation_params = {}
        self.comments = {}
        self.c = self.uc = None
        self.refine = None
        self.seeds = [seed]
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

    @property
    def sd_model(self):
        return shared.sd_model

    def comment(self, text):
        self.comments[text] = 1

    def get_conds_with_caching(self, function, required_prompts, steps, caches, extra_network_data):
        key = (required_prompts, steps, shared.sd_model.sd_checkpoint_info, extra_network_data)
        for cache in caches:
            if cache[0] is not None and cache[0] == key:
                if len(cache) > 2:
                    shared.sd_model.extra_generation_params.update(cache[2])
                return cache[1]
        cache = caches[0]
        cache[1] = function(shared.sd_model, required_prompts, steps)
        if len(cache) > 2:
            cache[2] = dict(shared.sd_model.extra_generation_params)
        cache[0] = key
        return cache[1]

    def setup_conds(self):
        find = self.get_conds_with_caching
        arguments = (self.steps, [self.cached_uc], self.extra_network_data)
        unguided = self.cfg_scale == 1
        learned = prompt_parser.get_learned_conditioning
        self.uc = None if unguided else find(learned, self.negative_prompts, *arguments)
        self.c = find(
            prompt_parser.get_multicond_learned_conditioning,
            self.prompts,
            self.steps,
            [self.cached_c],
            self.extra_network_data,
        )

    def get_conds(self):
        return self.c, self.uc

    def before_every_sampling(self, x, c, uc):
        for script in self.scripts:
            script.process_before_every_sampling(self, *self.script_args, x=x, noise=x, c=c, uc=uc)

    def sample(self, x, c, uc):
        """Euler's method on sigmas."""
        sampler = sd_samplers_common.Sampler()
        denoiser = sd_samplers_cfg_denoiser.CFGDenoiser(sampler)
        denoiser.p, denoiser.total_steps, denoiser.refine = self, self.steps, self.refine
        sampler.sampler_extra_args = {
            "cond": c,
            "uncond": uc,
            "cond_scale": self.cfg_scale,
            "s_min_uncond": self.s_min_uncond,
            "image_cond": torch.zeros(len(x), 5, 1, 1),
        }
        sampling_prepare(shared.sd_model.forge_objects.unet, x)
        sigmas = torch.linspace(6.0, 0.0, self.steps + 1)
        x = x * sigmas[0]
        for now, following in zip(sigmas, sigmas[1:], strict=False):
            try:
                denoised = denoiser.forward(x, now.repeat(len(x)), **sampler.sampler_extra_args)
            except sd_samplers_common.InterruptedException:
                return x
            x = x + (x - denoised) / now * (following - now)
        return x


class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    cached_hr_uc = [None, None, None]
    cached_hr_c = [None, None, None]

    def __init__(self, prompts, hr_prompts=None, **fields):
        super().__init__(prompts, **fields)
        self.all_hr_prompts = hr_prompts
        self.enable_hr = bool(hr_prompts)
        self.hr_c = self.hr_uc = None
        self.cached_hr_uc = StableDiffusionProcessingTxt2Img.cached_hr_uc
        self.cached_hr_c = StableDiffusionProcessingTxt2Img.cached_hr_c

    def calculate_hr_conds(self):
        if self.hr_c is not None:
            return
        find = self.get_conds_with_caching
        data = self.hr_extra_network_data
        self.hr_uc = None
        if self.hr_cfg != 1:
            self.hr_uc = find(
                prompt_parser.get_learned_conditioning,
                self.negative_prompts,
                self.steps,
                [self.cached_hr_uc, self.cached_uc],
                data,
            )
        self.hr_c = find(
            prompt_parser.get_multicond_learned_conditioning,
            self.hr_prompts,
            self.steps,
            [self.cached_hr_c, self.cached_c],
            data,
        )

    def setup_conds(self):
        if self.is_hr_pass:
            self.hr_c = None
            self.calculate_hr_conds()
            return
        super().setup_conds()
        self.hr_uc = self.hr_c = None
        if self.enable_hr:
            activate(self, self.hr_extra_network_data)
            self.calculate_hr_conds()
            activate(self, self.extra_network_data)

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
        extra_images_list=None,
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
    model = shared.sd_model
    model.extra_generation_params = {}
    with torch.inference_mode():
        for script in p.scripts:
            script.process(p, *p.script_args)
        size = p.batch_size
        parts = []
        for iteration in range(p.n_iter):
            p.iteration = iteration
            shared.state.skipped = False
            if shared.state.interrupted:
                break
            place = slice(iteration * size, (iteration + 1) * size)
            model.forge_objects = model.forge_objects_original.shallow_copy()
            p.negative_prompts = p.all_negative_prompts[place]
            p.prompts, p.extra_network_data = extra_networks.parse_prompts(p.all_prompts[place])
            if getattr(p, "enable_hr", False):
                p.hr_prompts, p.hr_extra_network_data = extra_networks.parse_prompts(p.all_hr_prompts)
            activate(p, p.extra_network_data)
            model.forge_objects = model.forge_objects_after_applying_lora.shallow_copy()
            for script in p.scripts:
                script.process_batch(p, *p.script_args, batch_number=iteration, prompts=p.prompts)
            p.setup_conds()
            p.extra_generation_params.update(model.extra_generation_params)
            parts.append(_sample_batch(p))
            for script in p.scripts:
                script.post_sample(p, PostSampleArgs(parts[-1]), *p.script_args)
            memory_management.free_memory(0, None)  # the VAE wants room
        p.processed = processed = _finished(p, parts)
        for script in p.scripts:
            script.postprocess(p, processed, *p.script_args)
    return torch.cat(parts).clone()


def _sample_batch(p):
    generator = torch.Generator().manual_seed(p.seed)
    x = torch.cat([torch.randn(1, 4, 8, 8, generator=generator) for _ in p.prompts])
    model = p.sd_model
    model.forge_objects = model.forge_objects_after_applying_lora.shallow_copy()
    p.before_every_sampling(x, p.c, p.uc)
    x = p.sample(x, p.c, p.uc)
    if getattr(p, "enable_hr", False):
        p.is_hr_pass = True
        activate(p, p.hr_extra_network_data)
        p.calculate_hr_conds()
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3) / 6
        p.before_every_sampling(x, p.hr_c, p.hr_uc)
        p.sd_model.forge_objects = p.sd_model.forge_objects_after_applying_lora.shallow_copy()
        p.before_every_sampling(x, p.hr_c, p.hr_uc)
        x = p.sample(x, p.hr_c, p.hr_uc)
        p.is_hr_pass = False
    return x
