from __future__ import annotations

import logging

denoiser_callbacks = []
denoised_callbacks = []
before_ui_callbacks = []
app_started_callbacks = []
ui_tabs_callbacks = []
ui_settings_callbacks = []
errors = []


class CFGDenoiserParams:
    def __init__(
        self, x, image_cond, sigma, sampling_step, total_sampling_steps, text_cond, text_uncond, denoiser=None
    ):
        self.x = x
        self.image_cond = image_cond
        self.sigma = sigma
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps
        self.text_cond = text_cond
        self.text_uncond = text_uncond
        self.denoiser = denoiser


class CFGDenoisedParams:
    def __init__(self, x, sampling_step, total_sampling_steps, inner_model):
        self.x = x
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps
        self.inner_model = inner_model


def on_cfg_denoiser(callback, *, name=None):
    denoiser_callbacks.append(callback)


def on_cfg_denoised(callback, *, name=None):
    denoised_callbacks.append(callback)


def on_before_ui(callback, *, name=None):
    before_ui_callbacks.append(callback)


def on_app_started(callback, *, name=None):
    app_started_callbacks.append(callback)


def on_ui_tabs(callback, *, name=None):
    ui_tabs_callbacks.append(callback)


def on_ui_settings(callback, *, name=None):
    ui_settings_callbacks.append(callback)


def call(callbacks, params):
    """As in the WebUI, what a callback raises is reported and goes no further."""
    for callback in callbacks:
        try:
            callback(params)
        except Exception as error:
            logging.getLogger("webui").exception("callback")
            errors.append(error)
