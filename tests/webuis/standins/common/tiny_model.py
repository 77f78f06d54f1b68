"""A text encoder and a UNet of a few thousand weights, with every kind of layer that networks touch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

WIDTH = 12  # of the encoded text


class TextEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(500, WIDTH)
        self.transformer = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
        self.calls = 0

    def spelled(self, word):
        """What a word's number is made of."""
        return word

    def forward(self, text):
        """[tokens, WIDTH], the tokens a multiple of 8."""
        self.calls += 1
        words = [sum(map(ord, self.spelled(word))) % 499 + 1 for word in text.split()]
        words += [0] * (8 - len(words) % 8)
        return self.transformer(self.embedding(torch.tensor(words)))


class Attention(nn.Module):
    def __init__(self, width, context, linear):
        super().__init__()
        self.to_q = linear(width, width, bias=False)
        self.to_k = linear(context, width, bias=False)
        self.to_v = linear(context, width, bias=False)
        self.to_out = linear(width, width)

    def forward(self, x, context):
        parts = (self.to_q(x), self.to_k(context), self.to_v(context))
        heads = (one.unflatten(-1, (2, -1)).transpose(1, 2) for one in parts)
        return self.to_out(functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    def __init__(self, width, linear):
        super().__init__()
        self.norm = nn.GroupNorm(4, width)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn1 = Attention(width, width, linear)
        self.attn2 = Attention(width, WIDTH, linear)
        self.ff = linear(width, width)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x, context):
        y = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        y = y + self.attn1(self.norm1(y), y)
        y = y + self.attn2(self.norm2(y), context)
        y = y + torch.tanh(self.ff(y))
        return x + self.proj_out(y.transpose(1, 2).unflatten(2, x.shape[2:]))


class Resnet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.GroupNorm(4, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.time_emb_proj = nn.Linear(16, width)

    def forward(self, x, time):
        return x + self.conv(torch.tanh(self.norm(x) + self.time_emb_proj(time)[:, :, None, None]))


class TinyUnet(nn.Module):
    """One level down and up again.

    Args:
        linear: class of the attentions' linear layers.
    """

    def __init__(self, linear=nn.Linear):
        super().__init__()
        self.time_embed = nn.Linear(8, 16)
        self.conv_in = nn.Conv2d(4, 8, 3, padding=1)
        self.resnets = nn.ModuleList([Resnet(8), Resnet(16)])
        self.downsample = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.attentions = nn.ModuleList([Transformer(8, linear), Transformer(16, linear)])
        self.upsample = nn.Conv2d(16, 8, 3, padding=1)
        self.conv_out = nn.Conv2d(8, 4, 3, padding=1)
        self.input_blocks = ()  # only UNets have them

    def forward(self, x, time, context, y=None, guidance=None, control=None):
        """x [rows, 4, H, W], H and W even; time [rows]; context [rows, tokens, WIDTH]; y [rows, WIDTH]."""
        if y is not None:
            context = context + y[:, None]
        if guidance is not None:
            context = context * guidance[:, None, None]
        if control is not None:
            x = x + control
        waves = time[:, None] / torch.tensor([1.0, 10.0, 100.0, 1000.0])
        time = torch.tanh(self.time_embed(torch.cat((waves.sin(), waves.cos()), 1)))
        x = self.attentions[0](self.resnets[0](self.conv_in(x), time), context)
        low = self.attentions[1](self.resnets[1](self.downsample(x), time), context)
        x = x + self.upsample(low.repeat_interleave(2, 2).repeat_interleave(2, 3))
        return self.conv_out(torch.tanh(x)) / 2
