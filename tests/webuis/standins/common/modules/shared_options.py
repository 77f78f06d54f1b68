from __future__ import annotations

options = {
    "persistent_cond_cache": True,
    "batch_cond_uncond": True,
    "pad_cond_uncond": False,
    "pad_cond_uncond_v0": False,
    "skip_early_cond": 0.0,
    "s_min_uncond_all": False,
    "comma_padding_backtrack": 20,
    "sdxl_refiner_low_aesthetic_score": 2.5,
    "sdxl_refiner_high_aesthetic_score": 6.0,
    "localization": "None",
    "samples_format": "png",
    "samples_save": True,
    "save_incomplete_images": False,
    "enable_pnginfo": True,
    "return_grid": True,
    "return_mask": False,
    "return_mask_composite": False,
}
