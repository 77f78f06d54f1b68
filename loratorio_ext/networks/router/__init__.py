"""What acts in a model call: deltas, and the router that gives every batch row its own networks."""

from __future__ import annotations

from loratorio_ext.networks.router.delta import Delta, Dense, LowRank, OutputSlice, kernel_of
from loratorio_ext.networks.router.fit import FittedLayers, convolution_dims, input_width, norm_kind
from loratorio_ext.networks.router.places import Places, TokenLayout, UnplacedError
from loratorio_ext.networks.router.router import Router

__all__ = [
    "Delta",
    "Dense",
    "FittedLayers",
    "LowRank",
    "OutputSlice",
    "Places",
    "Router",
    "TokenLayout",
    "UnplacedError",
    "convolution_dims",
    "input_width",
    "kernel_of",
    "norm_kind",
]
