"""A model that is linear in the strengths of its networks, evaluations of it, and a plain reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from loratorio_ext.method import RowMap
from loratorio_ext.networks.router import Places
from loratorio_ext.run import GivenBase, NetworkUse, Row, Run
from loratorio_ext.settings import Settings

# The method as published: unconditional rows for every network.
PAPER = Settings(looks=0, recenter=0.5, gain=0.0)


@dataclass
class FakeModel:
    """Prediction = base + Σ strength · delta, for every row on its own; the source of a row plays no part."""

    base: dict[str, np.ndarray]  # branch → [rows, C, H, W]
    deltas: dict[str, np.ndarray]  # branch → [networks, rows, C, H, W]
    dtype: torch.dtype = torch.float64
    device: str = "cpu"
    calls: list[tuple[Row, ...]] = field(default_factory=list)
    releases: int = 0
    before_call: Callable[[Sequence[Row]], None] = lambda rows: None

    def array(
        self, strengths: Sequence[float], branch: str, index: int, maps: np.ndarray | None = None
    ) -> np.ndarray:
        total = self.base[branch][index].copy()
        for network, strength in enumerate(strengths):
            if strength != 0:
                added = strength * self.deltas[branch][network, index]
                total = total + (added if maps is None else maps[network] * added)
        return total

    def predict(
        self, rows: Sequence[Row], strengths: Sequence[Sequence[float]], places: Places | None
    ) -> torch.Tensor:
        assert len(strengths) == len(rows)
        self.before_call(rows)
        self.calls.append(tuple(rows))
        arrays = [
            self.array(of_row, row.branch, row.index, maps_of(places, number, len(of_row), self.base["cond"]))
            for number, (of_row, row) in enumerate(zip(strengths, rows, strict=True))
        ]
        return torch.tensor(np.stack(arrays), dtype=self.dtype).to(self.device)


def maps_of(places: Places | None, row: int, networks: int, like: np.ndarray) -> np.ndarray | None:
    """[networks, H, W] of a row that places networks."""
    if places is None or row not in places.rows:
        return None
    out = torch.empty(1, *like.shape[1:], dtype=torch.float64)
    return places.at("conv", out, 1, row, tuple(range(networks)))[0].numpy()


@dataclass
class FakeEvaluation:
    model: FakeModel
    index: int = 0
    total: int = 10
    sigma: float = 1.0
    rows: RowMap = field(default_factory=lambda: RowMap.one_each(1))
    guided: bool = True
    group: Callable[[Row], Hashable] = lambda row: 0
    kept: Sequence[float] = ()  # strengths of the base
    mapping: Callable[[torch.Tensor], torch.Tensor] | None = None
    noise_scale: float = 1.0
    base_calls: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def given(self) -> GivenBase | None:
        """What a host has predicted for the base before."""
        if not self.base_calls:
            return None
        cond = [self.model.array(self.kept, "cond", row) for row in range(self.rows.cond_rows)]
        uncond = [self.model.array(self.kept, "uncond", image) for image in range(self.rows.images)]
        tensors = [torch.tensor(np.stack(one), dtype=self.model.dtype) for one in (cond, uncond)]
        return GivenBase(*(one.to(self.model.device) for one in tensors), self.base_calls)

    def predict(
        self, rows: Sequence[Row], strengths: Sequence[Sequence[float]], places: Places | None
    ) -> tuple[torch.Tensor, int]:
        return self.model.predict(rows, strengths, places), 1

    def call_group(self, row: Row) -> Hashable:
        return self.group(row)

    def compare_as(self, space: str) -> Callable[[torch.Tensor], torch.Tensor] | None:
        self.asked.append(space)
        return self.mapping

    def release(self) -> None:
        self.model.releases += 1


@dataclass
class World:
    """A random model with networks, and evaluations of it."""

    uses: tuple[NetworkUse, ...]
    images: int = 1
    rows: RowMap | None = None  # None: one row for each image
    guided: bool = True
    seed: int = 0
    shape: tuple[int, int, int] = (2, 4, 5)
    total: int = 10

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        self.row_map = RowMap.one_each(self.images) if self.rows is None else self.rows
        self.cond_rows = self.row_map.cond_rows
        sizes = {"cond": self.cond_rows, "uncond": self.images}
        self.model = FakeModel(
            {branch: random.normal(size=(rows, *self.shape)) for branch, rows in sizes.items()},
            {
                branch: random.normal(size=(len(self.uses), rows, *self.shape)) * 0.6
                for branch, rows in sizes.items()
            },
        )

    def evaluation(self, index: int = 0, **changes: object) -> FakeEvaluation:
        values = {
            "model": self.model,
            "index": index,
            "total": self.total,
            "rows": self.row_map,
            "guided": self.guided,
            "kept": self.kept(),
        }
        return FakeEvaluation(**{**values, **changes})

    def run(self, settings: Settings | None = None, **options: object) -> Run:
        return Run(settings or PAPER, self.uses, **options)

    def picked(self, image_rows: Sequence[int], image: int) -> World:
        """The same world with one image alone."""
        weights = tuple(self.row_map.weights[row] for row in image_rows)
        of_image = RowMap((0,) * len(weights), weights)
        single = World(self.uses, 1, of_image, self.guided, self.seed, self.shape, self.total)
        rows = {"cond": list(image_rows), "uncond": [image]}
        single.model.base = {branch: self.model.base[branch][rows[branch]] for branch in rows}
        single.model.deltas = {branch: self.model.deltas[branch][:, rows[branch]] for branch in rows}
        return single

    def arrays(self, strengths: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """All rows with these strengths: cond [R, C, H, W], uncond [B, C, H, W]."""
        cond = [self.model.array(strengths, "cond", row) for row in range(self.cond_rows)]
        uncond = [self.model.array(strengths, "uncond", image) for image in range(self.images)]
        return np.stack(cond), np.stack(uncond)

    def kept(self) -> list[float]:
        return [0.0 if use.compose else use.strength for use in self.uses]

    def merged(self) -> list[float]:
        return [use.strength for use in self.uses]

    def alone(self, composed_index: int) -> list[float]:
        own = [place for place, use in enumerate(self.uses) if use.compose][composed_index]
        return [
            use.strength if place == own or not use.compose else 0.0 for place, use in enumerate(self.uses)
        ]


def _cosines(prediction: np.ndarray, base: np.ndarray, d: int) -> np.ndarray:
    _, height, width = base.shape
    rows, columns = math.ceil(height / d), math.ceil(width / d)
    s = np.empty((rows, columns))
    for i in range(rows):
        for j in range(columns):
            a = prediction[:, i * d : (i + 1) * d, j * d : (j + 1) * d].ravel()
            b = base[:, i * d : (i + 1) * d, j * d : (j + 1) * d].ravel()
            s[i, j] = a @ b / math.sqrt((a @ a) * (b @ b))
    return s


def _lowest(values: Sequence[float], k: int, usable: Sequence[int]) -> list[int]:
    return sorted(usable, key=lambda i: values[i])[:k] if k else list(usable)


def reference(
    world: World, settings: Settings, allowed: Sequence[Sequence[int]] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps 2 to 7 with loops: cond [R, C, H, W], uncond [B, C, H, W], weights [N, R, h, w].

    ``allowed``: for each image the networks that take part.
    """
    count = sum(use.compose for use in world.uses)
    base_cond, base_uncond = world.arrays(world.kept())
    conds, unconds = zip(*(world.arrays(world.alone(i)) for i in range(count)), strict=True)
    d, k, tau = settings.patch_size, settings.top_k, settings.temperature
    height, width = world.shape[1:]
    image_of, ands = world.row_map.image_of, world.row_map.weights
    compared = [
        np.stack([_cosines(conds[i][row], base_cond[row], d) for i in range(count)])
        for row in range(world.cond_rows)
    ]
    all_weights, cond = [], []
    for row, image in enumerate(image_of):
        s = compared[row]
        own = [other for other, owner in enumerate(image_of) if owner == image]
        parts = [abs(ands[other]) for other in own] if any(ands[other] for other in own) else [1.0] * len(own)
        of_image = sum(part * compared[other].mean((1, 2)) for part, other in zip(parts, own, strict=True))
        usable = list(range(count)) if allowed is None else list(allowed[image])
        weights = np.zeros_like(s)
        for p in np.ndindex(s.shape[1:]):
            by = of_image if settings.top_k_scope == "image" else s[(slice(None), *p)]
            chosen = _lowest(by, k, usable)
            terms = _terms({i: s[(i, *p)] for i in chosen}, s, tau, settings.weighting)
            for i, term in terms.items():
                weights[(i, *p)] = term / sum(terms.values())
        all_weights.append(weights)
        mixed = _weighted(weights, [conds[i][row] for i in range(count)], d, height, width)
        gamma = min(len(usable), k or count) ** settings.gain
        cond.append(base_cond[row] + gamma * (mixed - base_cond[row]))
    uncond = []
    for image in range(world.images):
        rows = [row for row, owner in enumerate(image_of) if owner == image]
        total = sum(abs(ands[row]) for row in rows)
        shares = [abs(ands[row]) / total if total else 1 / len(rows) for row in rows]
        mean = sum(share * all_weights[row] for share, row in zip(shares, rows, strict=True))
        networks = _weighted(mean, [unconds[i][image] for i in range(count)], d, height, width)
        networks = base_uncond[image] + gamma * (networks - base_uncond[image])
        uncond.append(settings.recenter * base_uncond[image] + (1 - settings.recenter) * networks)
    return np.stack(cond), np.stack(uncond), np.stack(all_weights, 1)


def _terms(s: dict[int, float], everywhere: np.ndarray, tau: float, weighting: str) -> dict[int, float]:
    """Weights of the networks before they are divided by their sum."""
    if weighting == "difference":
        lowest = min(s.values())
        return {i: math.exp(-(value - lowest) / tau) for i, value in s.items()}
    own = {i: max(1 - value, 0) / ((1 - everywhere[i]).clip(0).mean() or 1.0) for i, value in s.items()}
    largest = max(own.values())
    return {i: (value / largest if largest else 1.0) ** (1 / tau) for i, value in own.items()}


def _weighted(weights: np.ndarray, values: list[np.ndarray], d: int, height: int, width: int) -> np.ndarray:
    total = np.zeros_like(values[0])
    for y in range(height):
        for x in range(width):
            for weight, value in zip(weights, values, strict=True):
                total[:, y, x] += weight[y // d, x // d] * value[:, y, x]
    return total


def uses(count: int, kept: int = 0) -> tuple[NetworkUse, ...]:
    return tuple(NetworkUse(f"network {i}", 0.5 + 0.25 * i, compose=i < count) for i in range(count + kept))
