"""How each row of a model call gets its networks: their strengths, and the places where they act at once."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from loratorio_ext.method import Aggregation, RowMap, mean_over_subprompts, upsample
from loratorio_ext.networks.arguments import Area
from loratorio_ext.networks.router import Places, TokenLayout
from loratorio_ext.networks.router.places import resized
from loratorio_ext.run.evaluation import BRANCHES, Branch, NetworkUse, Row, RowStrengths, Source
from loratorio_ext.run.ranking import ChosenNetworks

SMOOTHING = 0.5
"""Share of what earlier looks found in the maps after a look."""

TextShares = tuple[tuple[Source, float], ...]
"""Sources whose texts, each times its number, make up the text of a row; the numbers sum to 1."""


class Routes:
    """The strengths of every row and, between looks, the maps by which networks share a row.

    To first order in what networks add, e(Σ m_i Δ_i) ≈ e_θ + Σ m_i (e_i − e_θ), which is the method's step 6
    with its gain: so the maps are N^g · Ω̂_i, at most 1, since weak networks can break above their strength
    (docs/evidence.md), and for the unconditional (1 − λ) times their mean over an image's rows.

    Attributes:
        has_areas: whether a composed network may speak in a part of the picture only.
        weights: Ω̂ of the looks so far, smoothed, [N, R, h, w]; None before the first look.
        acting: bool [N, B], the networks that can have weight in each image; None before the first look.
        token_layout: of the model that the rows are for.
    """

    def __init__(self, uses: Sequence[NetworkUse]) -> None:
        """Check the networks' strengths and arguments once.

        Raises:
            ValueError: a strength is not a finite number, or an argument cannot be.
        """
        self._named = tuple(uses)
        self._areas = [use.area for use in uses if use.compose]
        self._windows = [use.window for use in uses]
        self._factors = (1.0,) * len(self._windows)
        for use in uses:
            if isinstance(use.strength, bool) or not math.isfinite(use.strength):
                raise ValueError(
                    f"the strength of network {use.name!r} is {use.strength!r}; it must be a finite number, "
                    "such as 0.8: correct the number in its tag"
                )
        self._composed = [place for place, use in enumerate(uses) if use.compose]
        self.has_areas = any(self._areas)
        every: tuple[Source, ...] = ("base", "merged", "placed", *range(len(self._composed)))
        # Without what changes over the steps.
        self._of = {
            (one, branch): self._strengths_of(uses, one, branch) for one in every for branch in BRANCHES
        }
        self._everywhere = [place for place in self._composed if uses[place].uncond]
        self.weights: Tensor | None = None
        self.acting: Tensor | None = None
        self.token_layout = TokenLayout()
        self._maps: dict[str, Tensor] = {}  # branch → [rows, networks of the generation, H, W]
        self._chosen: tuple[tuple[int, ...], ...] = ()  # the networks that can have weight in each image
        self._recenter = 0.0
        self._image_of: tuple[int, ...] = ()
        self._maps_of: tuple[int, ...] | None = ()  # the networks that the maps are for; None: any
        self._places: dict[tuple[Row, ...], Places] = {}

    def begin(self, index: int, total: int) -> None:
        """From here on, strengths are those of evaluation ``index`` of ``total``."""
        factors = tuple(window.factor(index, total) for window in self._windows)
        if factors != self._factors:
            self._factors = factors
            self._places.clear()

    def of(self, source: Source, branch: Branch = "cond") -> RowStrengths:
        """Strengths of the networks in a row of this kind, [networks of the generation]."""
        pairs = zip(self._of[source, branch], self._factors, strict=True)
        # Where networks are placed, the maps have the factors: other strengths would be prepared anew.
        return tuple(one * (float(factor != 0) if source == "placed" else factor) for one, factor in pairs)

    def _strengths_of(self, uses: Sequence[NetworkUse], source: Source, branch: Branch) -> RowStrengths:
        own = self._composed[source] if isinstance(source, int) else None
        found = []
        for place, use in enumerate(uses):
            acts = use.acts(branch)
            if acts is None:
                acts = place == own or source in ("merged", "placed")
            found.append(float(use.strength) if acts else 0.0)
        return tuple(found)

    def areas(self, like: Tensor) -> Tensor | None:
        """Where each composed network may speak, [N, 1, H, W] in [0, 1]; None: all of them everywhere.

        Args:
            like: latents or predictions [..., H, W].
        """
        if not self.has_areas:
            return None
        height, width = like.shape[-2:]
        maps = []
        for area in (area or Area() for area in self._areas):
            down, across = (torch.tensor(area.shares(axis, of)) for axis, of in ((1, height), (0, width)))
            maps.append(down.T @ torch.tensor(area.cells, dtype=down.dtype) @ across)
        return torch.stack(maps)[:, None].clamp(max=1.0).to(like.device)

    def of_rows(self, rows: Sequence[Row]) -> tuple[list[RowStrengths], Places | None]:
        """(strengths of every row, the maps of those whose source is "placed"; None: there is none)."""
        placed = [place for place, row in enumerate(rows) if row.source == "placed"]
        if not placed:
            return [self.of(row.source, row.branch) for row in rows], None
        known = tuple(rows)
        if known not in self._places:
            maps = torch.stack([self._maps[rows[place].branch][rows[place].index] for place in placed])
            for network, factor in enumerate(self._factors):
                if factor not in (0.0, 1.0):
                    maps[:, network] *= factor
            self._places[known] = Places(placed, maps, self.token_layout)
        return [self._strengths(row) for row in rows], self._places[known]

    def text_of(self, row: Row, rows: RowMap, own: Collection[int]) -> TextShares:
        """Whose text a row has.

        Text encoders have seen it with all networks, and with each alone. Where only some of several act at
        once, each adds to the base's text what it adds alone, which is what they add together to first order.
        The unconditional text of placed networks goes from the base's to theirs by 1 − λ, as the maps do.

        Args:
            row: of the evaluation that has begun.
            rows: its conditional rows.
            own: the composed networks with which the text is another one than the base's.
        """
        if row.source != "placed" or not own:
            return ((row.source if own else "base", 1.0),)
        acting: Collection[int] = own
        if self._image_of == rows.image_of:
            acting = [
                one for one in self._acting_in(row) if one in own and self._factors[self._composed[one]]
            ]
        share = 1.0 if row.branch == "cond" else 1.0 - self._recenter
        sources: Sequence[Source] = ("merged",) if len(acting) == len(own) else sorted(acting)
        parts = [*((source, share) for source in sources), ("base", 1.0 - share * len(sources))]
        return tuple((source, part) for source, part in parts if part)

    def fits(self, rows: RowMap, acting: tuple[int, ...]) -> bool:
        """Whether there are maps for these conditional rows and networks."""
        of_networks = self._maps_of is None or self._maps_of == acting
        return self.weights is not None and self._image_of == rows.image_of and of_networks

    def go_on_from(self, other: Routes, size: tuple[int, int]) -> bool:
        """Begin with the maps of another pass over the same networks, brought to ``size`` (H, W).

        Returns False where it has none.
        """
        if other.weights is None or other._named != self._named:
            return False
        self.weights, self.acting = other.weights, other.acting
        self._chosen, self._recenter = other._chosen, other._recenter
        self._image_of, self._maps_of = other._image_of, other._maps_of
        self._maps = {branch: resized(maps, size) for branch, maps in other._maps.items()}
        return True

    def look(
        self,
        aggregation: Aggregation,
        size: tuple[int, int],
        acting: ChosenNetworks,
        networks: tuple[int, ...],
        selected: Tensor,
    ) -> None:
        """Take in the weights that a full step has found.

        Args:
            aggregation: the step's.
            size: H and W of the latent.
            acting: see the attribute.
            networks: those that took part, ascending.
            selected: those that can have weight at each patch, bool [N, R, h, w].
        """
        weights, before = aggregation.weights, self.weights
        if before is not None and before.shape == weights.shape and self._maps_of == networks:
            smooth = torch.lerp(weights, before.to(weights), SMOOTHING)
            kept = smooth.masked_fill(~selected, 0.0)
            # What earlier looks gave to networks that this one has not chosen falls to those that it has.
            lost, share = (kept != smooth).any(dim=0), weights.sum(dim=0) / kept.sum(dim=0)
            weights = torch.where(lost & share.isfinite(), kept * share, kept)
        self.weights, self.acting, self._chosen = weights, acting.mask, acting.of_images
        gamma = aggregation.counts.clamp(min=1.0).pow(aggregation.gain)
        gamma = gamma if gamma.dim() == 3 else gamma[:, None, None]
        maps = upsample((weights * gamma).clamp(max=1.0), aggregation.patch_size, size)
        self._keep(maps, aggregation.rows, aggregation.recenter, networks)

    def place(
        self, maps: Tensor, rows: RowMap, recenter: float, networks: tuple[int, ...] | None = None
    ) -> None:
        """Take maps from elsewhere.

        Args:
            maps: what is multiplied by what each network adds, [N, R, H, W]; H and W are the latent's.
            rows: the image and the AND weight of each conditional row.
            recenter: λ.
            networks: those that the maps are for; None: they hold whichever act.
        """
        self.weights = maps
        self.acting = torch.zeros(len(maps), rows.images, dtype=torch.bool, device=maps.device)
        acting = tuple(range(len(maps))) if networks is None else networks
        self.acting[list(acting)] = True
        self._chosen = (acting,) * rows.images
        self._keep(maps, rows, recenter, networks)

    def _keep(self, maps: Tensor, rows: RowMap, recenter: float, networks: tuple[int, ...] | None) -> None:
        self._image_of, self._maps_of, self._recenter = rows.image_of, networks, recenter
        of_images = mean_over_subprompts(maps, rows) * (1 - recenter)
        for branch, found in (("cond", maps), ("uncond", of_images)):
            every = torch.ones_like(found[:1]).repeat(len(self._windows), 1, 1, 1)
            for network, place in enumerate(self._composed):
                if branch == "cond" or place not in self._everywhere:
                    every[place] = found[network]
            self._maps[branch] = every.transpose(0, 1)
        self._places.clear()

    def _strengths(self, row: Row) -> RowStrengths:
        """Without networks that have no weight in the image: no work is done, and no NaN counts."""
        if row.source != "placed":
            return self.of(row.source, row.branch)
        acting = {self._composed[network] for network in self._acting_in(row)}
        pairs = enumerate(zip(self.of("placed", row.branch), self._of["base", row.branch], strict=True))
        return tuple(placed if kept or place in acting else 0.0 for place, (placed, kept) in pairs)

    def _acting_in(self, row: Row) -> tuple[int, ...]:
        """The composed networks that can have weight in a row whose networks are placed, ascending."""
        return self._chosen[self._image_of[row.index] if row.branch == "cond" else row.index]


def mixed_text(parts: Sequence[tuple[Tensor, float]]) -> Tensor:
    """Texts of one shape, each times its share (see `TextShares`), in their dtype; one alone as it is."""
    if len(parts) == 1:
        return parts[0][0]
    return torch.stack([share * text.float() for text, share in parts]).sum(0).to(parts[0][0].dtype)
