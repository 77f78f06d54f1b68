from __future__ import annotations

import torch
from backend import memory_management
from backend.sampling.sampling_function import sampling_prepare

from modules import extra_networks, processing_common, sd_samplers_cfg_denoiser, shared, traits
from modules.processing_common import PostSampleArgs  # noqa: F401


class StableDiffusionProcessing(processing_common.StableDiffusionProcessing):
    cached_uc = [None, None, None]
    cached_c = [None, None, None]

    def __init__(self, prompts, cfg_scale=5.0, **fields):
        self.hr_cfg = cfg_scale
        super().__init__(prompts, cfg_scale=cfg_scale, **fields)

    @property
    def sd_model(self):
        return shared.sd_model

    def find_conds(self, prompts, data, uc_caches, c_caches, guided=True):
        guided = guided or traits.UNCOND_AT_CFG_1
        return super().find_conds(prompts, data, uc_caches, c_caches, guided)

    def setup_conds(self):
        caches = [self.cached_uc], [self.cached_c]
        self.c, self.uc = self.find_conds(
            self.prompts, self.extra_network_data, *caches, guided=self.cfg_scale != 1
        )

    def sample(self, x, c, uc):
        sampler = self.new_sampler(x, c, uc)
        sampling_prepare(shared.sd_model.forge_objects.unet, x)
        return self.euler(sd_samplers_cfg_denoiser.CFGDenoiser(sampler), sampler, x)

    def batch_begins(self):
        model = shared.sd_model
        model.forge_objects = model.forge_objects_original.shallow_copy()

    def networks_are_loaded(self):
        model = shared.sd_model
        model.forge_objects = model.forge_objects_after_applying_lora.shallow_copy()

    def conds_are_there(self):
        self.extra_generation_params.update(shared.sd_model.extra_generation_params)

    def refiner_is_loaded(self):
        extra_networks.activate(self, self.extra_network_data)

    def apply_refiner(self, denoiser):
        comes_in = super().apply_refiner(denoiser)
        if comes_in:
            objects = shared.sd_model.forge_objects
            objects.unet = shared.sd_model.forge_objects_after_applying_lora.unet
            sampling_prepare(objects.unet, torch.zeros(1, 4, 8, 8))
        return comes_in

    def latents_are_there(self):
        memory_management.free_memory(0, None)  # the VAE wants room


class StableDiffusionProcessingTxt2Img(
    processing_common.StableDiffusionProcessingTxt2Img, StableDiffusionProcessing
):
    cached_hr_uc = [None, None, None]
    cached_hr_c = [None, None, None]

    def setup_conds(self):
        super().setup_conds()
        if self.enable_hr and not self.is_hr_pass:
            extra_networks.activate(self, self.hr_extra_network_data)
            self.calculate_hr_conds()
            extra_networks.activate(self, self.extra_network_data)


class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    mask_for_overlay = None


class Processed(processing_common.Processed):
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
        places = {"index_of_first_image": index_of_first_image, "infotexts": infotexts}
        super().__init__(p, images_list, info=info, all_prompts=all_prompts, all_seeds=all_seeds, **places)


def process_images(p):
    shared.sd_model.extra_generation_params = {}
    with torch.inference_mode():
        latents = processing_common.process(p, _sample_batch, Processed)
    return latents.clone()


def _sample_batch(p):
    x = processing_common.first_latents(p)
    p.networks_are_loaded()
    p.before_every_sampling(x, p.c, p.uc)
    x = p.sample(x, p.c, p.uc)
    if p.enable_hr:
        p.is_hr_pass = True
        extra_networks.activate(p, p.hr_extra_network_data)
        p.calculate_hr_conds()
        x = processing_common.enlarged(x)
        if traits.HIRES_ANNOUNCED_TWICE:
            p.before_every_sampling(x, p.hr_c, p.hr_uc)
        p.networks_are_loaded()
        p.before_every_sampling(x, p.hr_c, p.hr_uc)
        x = p.sample(x, p.hr_c, p.hr_uc)
        p.is_hr_pass = False
    return x
