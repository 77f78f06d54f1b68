"""How each row of a model call gets its networks: their strengths, and the places where they act at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from loratorio_ext.method import Aggregation, RowMap, mean_over_subprompts, upsample
from loratorio_ext.networks.router import Places
from loratorio_ext.networks.router.places import resized
from loratorio_ext.run.evaluation import NetworkUse, Row, RowStrengths, Source
from loratorio_ext.run.ranking import ChosenNetworks

SMOOTHING = 0.5
"""Share of what earlier looks found in the maps after a look."""


class Routes:
    """The strengths of every row and, between looks, the maps by which networks share a row.

    To first order in what networks add, e(Σ m_i Δ_i) ≈ e_θ + Σ m_i (e_i − e_θ), which is the method's step 6
    with its gain: so the maps are N^g · Ω̂_i, and for the unconditional (1 − λ) times their mean over an
    image's rows.

    Attributes:
        weights: Ω̂ of the looks so far, smoothed, [N, R, h, w]; None before the first look.
        acting: bool [N, B], the networks that can have weight in each image; None before the first look.
    """

    def __init__(self, uses: Sequence[NetworkUse]) -> None:
        """Check the strengths once.

        Raises:
            ValueError: a strength is not a finite number.
        """
        for use in uses:
            if isinstance(use.strength, bool) or not math.isfinite(use.strength):
                raise ValueError(
                    f"the strength of network {use.name!r} is {use.strength!r}; it must be a finite number, "
                    "such as 0.8: correct the number in its tag"
                )
        kept = tuple(0.0 if use.compose else float(use.strength) for use in uses)
        merged = tuple(float(use.strength) for use in uses)
        self._of: dict[Source, RowStrengths] = {"base": kept, "merged": merged, "placed": merged}
        self._composed = [place for place, use in enumerate(uses) if use.compose]
        for network, place in enumerate(self._composed):
            self._of[network] = (*kept[:place], merged[place], *kept[place + 1 :])
        self.weights: Tensor | None = None
        self.acting: Tensor | None = None
        self._maps: dict[str, Tensor] = {}  # branch → [rows, networks of the generation, H, W]
        self._chosen: tuple[tuple[int, ...], ...] | None = None
        self._image_of: tuple[int, ...] = ()
        self._places: dict[tuple[Row, ...], Places] = {}

    def of(self, source: Source) -> RowStrengths:
        """Strengths of the networks in a row with this source, [networks of the generation]."""
        return self._of[source]

    def of_rows(self, rows: Sequence[Row]) -> tuple[list[RowStrengths], Places | None]:
        """(strengths of every row, the maps of those whose source is "placed"; None: there is none)."""
        placed = [place for place, row in enumerate(rows) if row.source == "placed"]
        if not placed:
            return [self.of(row.source) for row in rows], None
        known = tuple(rows)
        if known not in self._places:
            maps = torch.stack([self._maps[rows[place].branch][rows[place].index] for place in placed])
            self._places[known] = Places(placed, maps)
        return [self._strengths(row) for row in rows], self._places[known]

    def fits(self, rows: RowMap) -> bool:
        """Whether there are maps for these conditional rows."""
        return self.weights is not None and self._image_of == rows.image_of

    def go_on_from(self, other: Routes, size: tuple[int, int]) -> bool:
        """Begin with the maps of another pass over the same networks, brought to ``size`` (H, W).

        Returns False where it has none.
        """
        if other.weights is None or other._of != self._of:
            return False
        self.weights, self.acting = other.weights, other.acting
        self._chosen, self._image_of = other._chosen, other._image_of
        self._maps = {branch: resized(maps, size) for branch, maps in other._maps.items()}
        return True

    def look(
        self,
        aggregation: Aggregation,
        size: tuple[int, int],
        acting: Tensor,
        chosen: ChosenNetworks | None,
    ) -> None:
        """Take in the weights that a full step has found.

        Args:
            aggregation: the step's.
            size: H and W of the latent.
            acting: see the attribute.
            chosen: the same, as numbers; None: all of them act.
        """
        weights, before = aggregation.weights, self.weights
        if before is not None and before.shape == weights.shape:
            weights = torch.lerp(weights, before.to(weights), SMOOTHING)
        self.weights, self.acting = weights, acting
        self._chosen = None if chosen is None else chosen.of_images
        gamma = aggregation.counts.clamp(min=1.0).pow(aggregation.gain)[:, None, None]
        maps = upsample(weights * gamma, aggregation.patch_size, size)
        self._keep(maps, aggregation.rows, aggregation.recenter)

    def place(self, maps: Tensor, rows: RowMap, recenter: float) -> None:
        """Take maps from elsewhere.

        Args:
            maps: what is multiplied by what each network adds, [N, R, H, W]; H and W are the latent's.
            rows: the image and the AND weight of each conditional row.
            recenter: λ.
        """
        self.weights = maps
        self.acting = torch.ones(len(maps), rows.images, dtype=torch.bool, device=maps.device)
        self._keep(maps, rows, recenter)

    def _keep(self, maps: Tensor, rows: RowMap, recenter: float) -> None:
        self._image_of = rows.image_of
        of_images = mean_over_subprompts(maps, rows) * (1 - recenter)
        for branch, found in (("cond", maps), ("uncond", of_images)):
            every = torch.ones_like(found[:1]).repeat(len(self._of["base"]), 1, 1, 1)
            for network, place in enumerate(self._composed):
                every[place] = found[network]
            self._maps[branch] = every.transpose(0, 1)
        self._places.clear()

    def _strengths(self, row: Row) -> RowStrengths:
        """Without networks that were not chosen: they cost nothing."""
        if row.source != "placed" or self._chosen is None:
            return self.of(row.source)
        image = self._image_of[row.index] if row.branch == "cond" else row.index
        acting = {self._composed[network] for network in self._chosen[image]}
        pairs = enumerate(zip(self.of("placed"), self.of("base"), strict=True))
        return tuple(merged if place in acting else kept for place, (merged, kept) in pairs)
