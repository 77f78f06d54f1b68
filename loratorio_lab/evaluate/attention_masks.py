"""Where networks act by the cross-attention of their trigger words: a control.

Masks are made as FreeFuse makes them (arXiv 2510.23515): in a phase that is thrown away all networks act
merged; at one early step the cross-attention of each network's trigger word is read, every place goes to the
word that draws most of it, and sampling starts anew with networks masked. FreeFuse's clean-up of masks
(superpixels, voting, balancing) is left out but for a mean over neighbours and equal totals for all words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request

MASK_STEP: Final = 3
"""The step, from 0, at which cross-attention is read; the last, where there are fewer."""


class _Enough(Exception):  # noqa: N818 - not an error
    """The throw-away phase is over."""


def of_attention(host: DiffusersHost, request: Request, words: Sequence[Sequence[str]]) -> tuple[Tensor, int]:
    """(hard masks [B, N, H, W], rows that finding them took for each picture).

    Args:
        host: the model.
        request: what will be drawn.
        words: for each picture the trigger word of each network, in the networks' order.
    """
    tokenizer = host.pipeline.tokenizer
    tokens = torch.tensor([_places_of(tokenizer, *one) for one in zip(request.prompts, words, strict=True)])
    maps: list[Tensor] = []
    step = min(MASK_STEP, request.steps - 1)

    def on_step(done: int, total: int) -> None:
        if done == step + 1:
            raise _Enough

    try:
        with _reading(host.pipeline.unet, tokens, step, maps):
            host.generate(replace(request, method="merge", maps=None), on_step)
    except _Enough:
        pass
    side = max(one.shape[-1] for one in maps)
    whole = torch.stack([F.interpolate(one, (side, side), mode="bilinear") for one in maps]).mean(0)
    whole = F.avg_pool2d(whole, 3, 1, 1, count_include_pad=False)
    share = whole / whole.mean(dim=(-2, -1), keepdim=True)
    return F.one_hot(share.argmax(1), share.shape[1]).movedim(-1, 1).float(), 2 * (step + 1)


def _places_of(tokenizer: Any, prompt: str, words: Sequence[str]) -> list[int]:
    """The place of each word among a prompt's tokens (every word of the embedded world is one token)."""
    ids = tokenizer(prompt.partition("<")[0].strip()).input_ids
    return [ids.index(tokenizer(word).input_ids[1]) for word in words]


@contextmanager
def _reading(unet: nn.Module, tokens: Tensor, step: int, maps: list[Tensor]) -> Iterator[None]:
    """At one call of the UNet, add every cross-attention's map of these tokens: [B, N, h, w]."""
    calls = [-1]

    def count(module: nn.Module, args: Any) -> None:
        calls[0] += 1

    def read(module: Any, args: Any, kwargs: Any) -> None:
        if calls[0] != step:
            return
        hidden, text = (args or (kwargs["hidden_states"],))[0], kwargs["encoder_hidden_states"]
        q, k = (
            layer(x).unflatten(-1, (module.heads, -1)).transpose(1, 2)
            for layer, x in ((module.to_q, hidden), (module.to_k, text))
        )
        shares = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1).mean(1)[: len(tokens)]
        side = round(shares.shape[1] ** 0.5)
        of_words = [shares[torch.arange(len(tokens)), :, tokens[:, n]] for n in range(tokens.shape[1])]
        maps.append(torch.stack(of_words, dim=1).unflatten(2, (side, side)))

    handles = [unet.register_forward_pre_hook(count)]
    handles += [
        module.register_forward_pre_hook(read, with_kwargs=True)
        for name, module in unet.named_modules()
        if name.endswith("attn2")
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
