from __future__ import annotations

import numpy as np
from PIL import Image


class InterruptedException(BaseException):
    pass


class Sampler:
    def __init__(self):
        self.sampler_extra_args = None
        self.last_latent = None


def sample_to_image(samples, index=0):
    """The first three channels as colours."""
    colours = samples[index, :3].clamp(-3, 3).add(3).mul(42).movedim(0, -1).cpu().numpy()
    return Image.fromarray(colours.astype(np.uint8))
