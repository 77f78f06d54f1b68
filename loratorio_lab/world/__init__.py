"""The embedded world: a small latent diffusion model, networks for concepts it does not know, and a judge.

Everything in it is drawn and trained by this project (``demo/README.md`` is its model card), so that the
method can be seen and measured without any download.
"""
