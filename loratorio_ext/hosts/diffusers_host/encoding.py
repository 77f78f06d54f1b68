"""Prompts as the text encoders see them: by the base, by each network alone, by all networks at once.

Network i is conditioned on the prompt encoded with network i's own text-encoder part alone, the base on the
prompt encoded with none (networks kept merged act everywhere). All these rows go through an encoder in one
call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.hosts.diffusers_host.networks import HostNetwork
from loratorio_ext.hosts.diffusers_host.pipeline import components, is_xl
from loratorio_ext.networks.router import Router
from loratorio_ext.run import NetworkUse, Row, Source
from loratorio_ext.run.rows import Strengths

__all__ = ["Encodings", "Text", "encode"]


@dataclass(frozen=True)
class Text:
    """Every prompt of a batch without its tags, and the one negative prompt; None: no unconditional rows.

    An empty negative prompt is all zeros for models that ask for it (SDXL's force_zeros_for_empty_prompt), as
    in the WebUI and as diffusers does where no negative prompt is given.
    """

    prompts: tuple[str, ...]
    negative: str | None


@dataclass(frozen=True)
class Encodings:
    """One generation's text, encoded once.

    hidden: [S, T, L, D], sources by texts; pooled: [S, T, P], SDXL only; both in the UNet's dtype. `sources`
    gives a source's place in S. Text b < len(prompts) is prompt b; the last one is the negative prompt, if
    any.
    """

    hidden: Tensor
    pooled: Tensor | None
    sources: Mapping[Source, int]
    warnings: tuple[str, ...] = ()

    def select(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor | None]:
        """(hidden [len(rows), L, D], pooled [len(rows), P] or None), as `rows` need it."""
        texts = self.hidden.shape[1]
        places = [
            self.sources[row.source] * texts + (row.index if row.branch == "cond" else texts - 1)
            for row in rows
        ]
        index = torch.tensor(places, device=self.hidden.device)
        pooled = None if self.pooled is None else self.pooled.flatten(0, 1).index_select(0, index)
        return self.hidden.flatten(0, 1).index_select(0, index), pooled


def encode(pipeline: Any, text: Text, networks: Sequence[HostNetwork]) -> Encodings:
    """Encode `text` for every source: one call of each text encoder, rows = different sources × texts.

    Sources whose networks have no text-encoder part share the base's rows.
    """
    composed = sum(network.compose for network in networks)
    sources: list[Source] = ["base", *range(composed), "merged"]
    speaking = tuple(bool(network.part("text_encoder")) for network in networks)
    strengths = Strengths([NetworkUse(network.name, network.te, network.compose) for network in networks])
    patterns: dict[tuple[float, ...], int] = {}
    place: dict[Source, int] = {}
    for source in sources:
        heard = tuple(
            value if has else 0.0 for value, has in zip(strengths.of(source), speaking, strict=True)
        )
        place[source] = patterns.setdefault(heard, len(patterns))

    texts = [*text.prompts, *([] if text.negative is None else [text.negative])]
    encoders = {name: module for name, module in components(pipeline).items() if name != "unet"}
    modules = {
        f"{component}.{name}": module
        for component, encoder in encoders.items()
        for name, module in encoder.named_modules()
    }
    parts = [network.part("text_encoder") for network in networks]
    touched = {layer for part in parts for layer in part}
    rows = [pattern for pattern in patterns for _ in texts]

    hidden: list[Tensor] = []
    pooled: Tensor | None = None
    warnings: list[str] = []
    for component, encoder in encoders.items():
        tokenizer = pipeline.tokenizer_2 if component == "text_encoder_2" else pipeline.tokenizer
        tokens, mask, cut = _tokenize(tokenizer, texts)
        warnings.extend(message for message in cut if message not in warnings)
        arguments: dict[str, Any] = {"input_ids": tokens.repeat(len(patterns), 1).to(encoder.device)}
        if getattr(encoder.config, "use_attention_mask", False):
            arguments["attention_mask"] = mask.repeat(len(patterns), 1).to(encoder.device)
        own = [_of_component(part, component) for part in parts]
        if any(own):
            router = Router({name: modules[name] for name in touched if name in modules}, own)
            with router.routing(rows):
                output = encoder(**arguments, output_hidden_states=is_xl(pipeline))
            router.release()
        else:
            output = encoder(**arguments, output_hidden_states=is_xl(pipeline))
        # Stable Diffusion XL reads the last layer but one of both encoders, and the second one's pooled text.
        hidden.append(output.hidden_states[-2] if is_xl(pipeline) else output[0])
        pooled = output[0] if component == "text_encoder_2" else pooled

    joined = _by_source(torch.cat(hidden, dim=-1), len(patterns), pipeline.unet)
    joined_pooled = None if pooled is None else _by_source(pooled, len(patterns), pipeline.unet)
    if text.negative == "" and getattr(pipeline.config, "force_zeros_for_empty_prompt", False):
        joined[:, -1] = 0
        if joined_pooled is not None:
            joined_pooled[:, -1] = 0
    return Encodings(joined, joined_pooled, place, tuple(warnings))


def _of_component(part: Mapping[str, Any], component: str) -> dict[str, Any]:
    return {name: deltas for name, deltas in part.items() if name.startswith(f"{component}.")}


def _by_source(rows: Tensor, sources: int, unet: Any) -> Tensor:
    by_source: Tensor = rows.to(unet.device, unet.dtype).unflatten(0, (sources, -1))
    return by_source


def _tokenize(tokenizer: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor, list[str]]:
    """(token ids [T, L], attention mask [T, L], a warning for every text that was cut)."""
    longest = tokenizer.model_max_length
    batch = tokenizer(
        list(texts), padding="max_length", max_length=longest, truncation=True, return_tensors="pt"
    )
    warnings: list[str] = []
    for text in texts:
        length = len(tokenizer.tokenize(text)) + 2  # begin and end
        if length > longest:
            start = text if len(text) <= 60 else text[:59] + "…"
            warnings.append(
                f"The prompt {start!r} has {length} tokens; the model reads {longest}, the rest was cut off."
            )
    return batch.input_ids, batch.attention_mask, warnings
