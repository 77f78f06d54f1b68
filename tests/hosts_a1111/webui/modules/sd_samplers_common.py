from __future__ import annotations


class Sampler:
    def __init__(self):
        self.sampler_extra_args = None
