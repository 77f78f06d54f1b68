from __future__ import annotations

import torch


class BaseModel(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.diffusion_model = model
        self.calls = []
        self.fail_at = None
        self.manual_cast_dtype = None

    def apply_model(
        self, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kw
    ):
        self.calls.append(len(x))
        if self.fail_at is not None and len(self.calls) >= self.fail_at:
            raise RuntimeError("the model is broken")
        options = transformer_options or {}
        assert len(options["cond_or_uncond"]) * len(options["sigmas"]) == len(x)
        scale = t[:, None, None, None]
        inputs = x / (1 + scale**2).sqrt()
        if c_concat is not None:
            inputs = inputs + c_concat.mean(dim=(1, 2, 3), keepdim=True)
        noise = self.diffusion_model(inputs, t * 100, context=c_crossattn, control=control, **kw)
        return x - scale * noise

    def get_dtype(self):
        return torch.float32

    def memory_required(self, input_shape, cond_shapes=None):
        return input_shape[0] * input_shape[2] * input_shape[3] * 1000.0
