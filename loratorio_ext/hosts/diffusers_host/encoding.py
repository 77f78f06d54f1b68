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

from loratorio_ext.hosts.diffusers_host.networks import TaggedNetwork
from loratorio_ext.hosts.diffusers_host.pipeline import components, is_xl
from loratorio_ext.networks.problems import shown
from loratorio_ext.networks.router import Router
from loratorio_ext.run import BRANCHES, Branch, NetworkUse, Row, RowStrengths, Source
from loratorio_ext.run.routes import Routes, TextShares, mixed_text


@dataclass(frozen=True)
class Encodings:
    """One generation's text, encoded once.

    hidden: [S, T, L, D], sources by texts; pooled: [S, T, P], SDXL only; both in the UNet's dtype. sources:
    the place in S of a source's texts, for each branch. Text b < len(prompts) is prompt b; the last one is
    the negative prompt, if any.
    """

    hidden: Tensor
    pooled: Tensor | None
    sources: Mapping[tuple[Source, Branch], int]
    warnings: tuple[str, ...] = ()

    @property
    def own(self) -> frozenset[int]:
        """The composed networks with which a text is another one than the base's."""
        of_base = {branch: self.sources["base", branch] for branch in BRANCHES}
        differ = (one for (one, branch), place in self.sources.items() if place != of_base[branch])
        return frozenset(one for one in differ if isinstance(one, int))

    def select(self, rows: Sequence[tuple[Row, TextShares]]) -> tuple[Tensor, Tensor | None]:
        """(hidden [len(rows), L, D], pooled [len(rows), P] or None), as each row needs it."""

        def of_rows(texts: Tensor) -> Tensor:
            found = []
            for row, shares in rows:
                text = row.index if row.branch == "cond" else -1
                places = ((self.sources[source, row.branch], share) for source, share in shares)
                found.append(mixed_text([(texts[place, text], share) for place, share in places]))
            return torch.stack(found)

        return of_rows(self.hidden), None if self.pooled is None else of_rows(self.pooled)


def encode(
    pipeline: Any, prompts: Sequence[str], negative: str | None, networks: Sequence[TaggedNetwork]
) -> Encodings:
    """Encode the texts for every source: one call of each text encoder, rows = different sources × texts.

    Sources whose networks have no text-encoder part share the base's rows. prompts: without their tags.
    negative: None for no unconditional rows. An empty one is all zeros for models that ask for it (SDXL's
    force_zeros_for_empty_prompt), as in the WebUI and as diffusers does where no negative prompt is given.
    """
    parts = [network.part("text_encoder") for _, network in networks]
    tags = [tag for tag, _ in networks]
    acting = [tag.te if part and not tag.own.never else 0.0 for tag, part in zip(tags, parts, strict=True)]
    routes = Routes([NetworkUse.of(t.name, te, t.own) for t, te in zip(tags, acting, strict=True)])
    composed = range(sum(tag.compose for tag in tags))
    patterns: dict[RowStrengths, int] = {}
    sources: dict[tuple[Source, Branch], int] = {}
    for source in ("base", *composed, "merged"):
        for branch in BRANCHES:
            pattern = routes.of(source, branch)
            sources[source, branch] = patterns.setdefault(pattern, len(patterns))

    xl = is_xl(pipeline)
    texts = list(prompts) if negative is None else [*prompts, negative]
    encoders = {name: module for name, module in components(pipeline).items() if name != "unet"}
    modules = {
        f"{component}.{name}": module
        for component, encoder in encoders.items()
        for name, module in encoder.named_modules()
    }
    router = Router(modules, parts)
    hidden: list[Tensor] = []
    warnings: list[str] = []
    output: Any = None
    with router.routing([pattern for pattern in patterns for _ in texts]):
        for component, encoder in encoders.items():
            tokenizer = pipeline.tokenizer_2 if component == "text_encoder_2" else pipeline.tokenizer
            tokens, mask, cut = _tokenize(tokenizer, texts)
            warnings += cut
            arguments = {"input_ids": tokens.repeat(len(patterns), 1).to(encoder.device)}
            if getattr(encoder.config, "use_attention_mask", False):
                arguments["attention_mask"] = mask.repeat(len(patterns), 1).to(encoder.device)
            output = encoder(**arguments, output_hidden_states=xl)
            # Stable Diffusion XL reads the last layer but one of both encoders.
            hidden.append(output.hidden_states[-2] if xl else output[0])
    router.release()

    def by_source(rows: Tensor) -> Tensor:
        rows = rows.to(pipeline.unet.device, pipeline.unet.dtype).unflatten(0, (len(patterns), -1))
        if negative == "" and getattr(pipeline.config, "force_zeros_for_empty_prompt", False):
            rows[:, -1] = 0
        return rows

    # Stable Diffusion XL also reads the second encoder's pooled text.
    pooled = by_source(output[0]) if xl else None
    return Encodings(by_source(torch.cat(hidden, dim=-1)), pooled, sources, tuple(dict.fromkeys(warnings)))


def _tokenize(tokenizer: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor, list[str]]:
    """(token ids [T, L], attention mask [T, L], a warning for every text that was cut)."""
    longest = tokenizer.model_max_length
    options = {"padding": "max_length", "max_length": longest, "truncation": True, "return_tensors": "pt"}
    batch = tokenizer(list(texts), **options)
    warnings: list[str] = []
    for text in texts:
        length = len(tokenizer.tokenize(text)) + 2  # begin and end
        if length > longest:
            reads = f"the model reads {longest}, the rest was cut off."
            warnings.append(f"The prompt {shown(text)} has {length} tokens; {reads}")
    return batch.input_ids, batch.attention_mask, warnings
