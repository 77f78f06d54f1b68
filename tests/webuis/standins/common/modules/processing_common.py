"""What is the same in every WebUI's ``processing.py``, for the stand-ins' own; no WebUI has this file.

One generation: activation of networks, conditions with their caches, sampling, a hires pass if wanted.
"""

from __future__ import annotations

import torch
from modules import extra_networks, images, prompt_parser, sd_samplers_common, shared


class StableDiffusionProcessing:
    cached_uc = [None, None]
    cached_c = [None, None]
    is_hr_pass = False
    enable_hr = False

    def __init__(self, prompts, negative="", seed=1, steps=4, cfg_scale=5.0, **fields):
        self.all_prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        self.all_negative_prompts = [negative] * len(self.all_prompts)
        self.seed, self.steps, self.cfg_scale = seed, steps, cfg_scale
        self.s_min_uncond = 0.0
        self.n_iter = 1
        self.iteration = 0
        self.scripts, self.script_args = [], []
        self.extra_generation_params = {}
        self.comments = {}
        self.c = self.uc = None
        self.cached_uc = type(self).cached_uc
        self.cached_c = type(self).cached_c
        self.refiner, self.refiner_at = None, 2
        self.progress = []  # what stands beside the progress bar after each evaluation
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

    def parse_extra_network_prompts(self):
        self.prompts, self.extra_network_data = extra_networks.parse_prompts(self.prompts)

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

    def find_conds(self, prompts, data, uc_caches, c_caches, guided=True):
        """(c, uc) of a pass; uc is None without guidance."""
        find, learned = self.get_conds_with_caching, prompt_parser.get_learned_conditioning
        uc = find(learned, self.negative_prompts, self.steps, uc_caches, data) if guided else None
        return find(prompt_parser.get_multicond_learned_conditioning, prompts, self.steps, c_caches, data), uc

    def get_conds(self):
        return self.c, self.uc

    def before_every_sampling(self, x, c=None, uc=None):
        for script in self.scripts:
            script.process_before_every_sampling(self, *self.script_args, x=x, noise=x, c=c, uc=uc)

    def new_sampler(self, x, c, uc):
        sampler = sd_samplers_common.Sampler()
        sampler.sampler_extra_args = {
            "cond": c,
            "uncond": uc,
            "cond_scale": self.cfg_scale,
            "s_min_uncond": self.s_min_uncond,
            "image_cond": torch.zeros(len(x), 5, 1, 1),
        }
        return sampler

    def euler(self, denoiser, sampler, x):
        """Euler's method on sigmas."""
        denoiser.p, denoiser.total_steps = self, self.steps
        sigmas = torch.linspace(6.0, 0.0, self.steps + 1)
        x = x * sigmas[0]
        for now, following in zip(sigmas, sigmas[1:], strict=False):
            try:
                denoised = denoiser.forward(x, now.repeat(len(x)), **sampler.sampler_extra_args)
            except sd_samplers_common.InterruptedException:
                return x
            self.progress.append(shared.state.textinfo)
            x = x + (x - denoised) / now * (following - now)
        return x

    def apply_refiner(self, denoiser):
        """Another checkpoint comes in before an evaluation; whether that is now."""
        if self.refiner in (None, shared.sd_model) or denoiser.step != self.refiner_at:
            return False
        shared.sd_model = self.refiner
        self.refiner_is_loaded()
        self.setup_conds()
        c, uc = self.get_conds()
        denoiser.sampler.sampler_extra_args.update(cond=c, uncond=uc)
        return True

    # What a WebUI does at these moments beside what they all do.

    def batch_begins(self):
        pass

    def networks_are_loaded(self):
        pass

    def conds_are_there(self):
        pass

    def refiner_is_loaded(self):
        pass

    def latents_are_there(self):
        pass


class StableDiffusionProcessingTxt2Img:
    """The hires pass; stands before the WebUI's own StableDiffusionProcessing among a class's bases."""

    cached_hr_uc = [None, None]
    cached_hr_c = [None, None]

    def __init__(self, prompts, hr_prompts=None, **fields):
        self.all_hr_prompts = hr_prompts
        self.enable_hr = bool(hr_prompts)
        self.hr_c = self.hr_uc = None
        self.cached_hr_uc = type(self).cached_hr_uc
        self.cached_hr_c = type(self).cached_hr_c
        super().__init__(prompts, **fields)

    def parse_extra_network_prompts(self):
        super().parse_extra_network_prompts()
        if self.enable_hr:
            self.hr_prompts, self.hr_extra_network_data = extra_networks.parse_prompts(self.all_hr_prompts)

    def calculate_hr_conds(self):
        if self.hr_c is None:
            guided = getattr(self, "hr_cfg", None) != 1  # Forge has a scale of its own for this pass
            caches = [self.cached_hr_uc, self.cached_uc], [self.cached_hr_c, self.cached_c]
            data = self.hr_extra_network_data
            self.hr_c, self.hr_uc = self.find_conds(self.hr_prompts, data, *caches, guided)

    def setup_conds(self):
        if self.is_hr_pass:
            self.hr_c = None
            self.calculate_hr_conds()
            return
        super().setup_conds()
        self.hr_uc = self.hr_c = None

    def get_conds(self):
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else super().get_conds()


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


class PostSampleArgs:
    def __init__(self, samples):
        self.samples = samples


def first_latents(p):
    generator = torch.Generator().manual_seed(p.seed)
    return torch.cat([torch.randn(1, 4, 8, 8, generator=generator) for _ in p.prompts])


def enlarged(x):
    """The latents that a hires pass begins with."""
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3) / 6


def create_infotext(p, index):
    return f"{p.all_prompts[index]}\nSeed: {p.all_seeds[index]}"


def _finished(p, latents):
    """The pictures of all batches, each with its masks, and a grid in front: what Processed is made of."""
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
    named = {"info": infotexts[0], "index_of_first_image": int(grid), "infotexts": infotexts}
    return output_images, named


def process(p, sample_batch, processed_class):
    """The latents of all batches, joined; p.processed holds what the WebUI would answer."""
    parts = _latents_of_batches(p, sample_batch)
    images, named = _finished(p, parts)
    p.processed = processed_class(p, images, **named)
    for script in p.scripts:
        script.postprocess(p, p.processed, *p.script_args)
    return torch.cat(parts)


def _latents_of_batches(p, sample_batch):
    """Latents [images, 4, 8, 8] of each batch, or [images, 4, 16, 16] after a hires pass."""
    size, first_model = p.batch_size, shared.sd_model
    parts = []
    for script in p.scripts:
        script.process(p, *p.script_args)
    for iteration in range(p.n_iter):
        p.iteration = iteration
        shared.state.skipped = False
        if shared.state.interrupted:
            break
        shared.sd_model = first_model
        place = slice(iteration * size, (iteration + 1) * size)
        p.batch_begins()
        p.prompts, p.negative_prompts = p.all_prompts[place], p.all_negative_prompts[place]
        p.parse_extra_network_prompts()
        extra_networks.activate(p, p.extra_network_data)
        p.networks_are_loaded()
        for script in p.scripts:
            script.process_batch(p, *p.script_args, batch_number=iteration, prompts=p.prompts)
        p.setup_conds()
        p.conds_are_there()
        parts.append(sample_batch(p))
        for script in p.scripts:
            script.post_sample(p, PostSampleArgs(parts[-1]), *p.script_args)
        p.latents_are_there()
    return parts
