"""Stable Diffusion 1.x, 2.x and XL, and the embedded model, through diffusers.

host = DiffusersHost.open("model-folder")
prompt = "a castle <lora:ink:0.8> <lora:dusk:0.8>"
result = host.generate(Request([prompt], seeds=[1], network_dir="networks"))
result.images[0].save("castle.png")
"""

from __future__ import annotations

from loratorio_ext.hosts.diffusers_host.host import DiffusersHost
from loratorio_ext.hosts.diffusers_host.pipeline import ModelError
from loratorio_ext.hosts.diffusers_host.request import Request, Result

__all__ = ["DiffusersHost", "ModelError", "Request", "Result"]
