"""A model that is linear in the strengths of its networks, evaluations of it, and a plain reference."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from loratorio_ext.method import RowMap
from loratorio_ext.networks.router import Places
from loratorio_ext.run import GivenBase, NetworkUse, Prediction, Report, Row, Run
from loratorio_ext.settings import Settings
from tests.method.reference import Composed, compose

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
    kept: tuple[Sequence[float], Sequence[float]] = ((), ())  # strengths of the base, in cond and uncond
    mapping: Callable[[torch.Tensor], torch.Tensor] | None = None
    noise_scale: float = 1.0
    base_calls: int = 0
    placed: GivenBase | None = None
    asked: list[str] = field(default_factory=list)

    @property
    def given(self) -> GivenBase | None:
        """What a host has predicted for the base before."""
        if not self.base_calls:
            return self.placed
        of_cond, of_uncond = self.kept
        cond = [self.model.array(of_cond, "cond", row) for row in range(self.rows.cond_rows)]
        uncond = [self.model.array(of_uncond, "uncond", image) for image in range(self.rows.images)]
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
            "kept": (self.kept(), self.kept("uncond")),
        }
        return FakeEvaluation(**{**values, **changes})

    def run(self, settings: Settings | None = None, **options: object) -> Run:
        return Run(settings or PAPER, self.uses, **options)

    def report(self, steps: int, settings: Settings | None = None, **options: object) -> Report:
        """Of a run with so many steps."""
        run = self.run(settings, **options)
        for index in range(steps):
            run.step(self.evaluation(index))
        return run.report

    def picked(self, image_rows: Sequence[int], image: int) -> World:
        """The same world with one image alone."""
        weights = tuple(self.row_map.weights[row] for row in image_rows)
        of_image = RowMap((0,) * len(weights), weights)
        single = World(self.uses, 1, of_image, self.guided, self.seed, self.shape, self.total)
        rows = {"cond": list(image_rows), "uncond": [image]}
        single.model.base = {branch: self.model.base[branch][rows[branch]] for branch in rows}
        single.model.deltas = {branch: self.model.deltas[branch][:, rows[branch]] for branch in rows}
        return single

    def arrays(
        self, strengths: Sequence[float], of_uncond: Sequence[float] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """All rows with these strengths: cond [R, C, H, W], uncond [B, C, H, W]."""
        of_uncond = strengths if of_uncond is None else of_uncond
        cond = [self.model.array(strengths, "cond", row) for row in range(self.cond_rows)]
        uncond = [self.model.array(of_uncond, "uncond", image) for image in range(self.images)]
        return np.stack(cond), np.stack(uncond)

    def kept(self, branch: str = "cond") -> list[float]:
        return self._strengths(branch, lambda place: False)

    def merged(self, branch: str = "cond") -> list[float]:
        return self._strengths(branch, lambda place: True)

    def alone(self, composed_index: int, branch: str = "cond") -> list[float]:
        own = [place for place, use in enumerate(self.uses) if use.compose][composed_index]
        return self._strengths(branch, lambda place: place == own)

    def _strengths(self, branch: str, speaks: Callable[[int], bool]) -> list[float]:
        """Of a row in which these of the composed networks speak."""
        found = [use.strength if speaks(n) or not use.compose else 0.0 for n, use in enumerate(self.uses)]
        for place, use in enumerate(self.uses):
            said = use.cond if branch == "cond" else use.uncond
            if said is False:
                found[place] = 0.0
            elif said is True and branch == "uncond":
                found[place] = use.strength
        return found


def reference(
    world: World, settings: Settings, allowed: Sequence[Sequence[int]] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps 2 to 7 by the method's reference: cond [R, C, H, W], uncond [B, C, H, W], weights [N, R, h, w].

    ``allowed``: for each image the networks that take part.
    """
    count = sum(use.compose for use in world.uses)
    base_cond, base_uncond = world.arrays(world.kept(), world.kept("uncond"))
    alone = [world.arrays(world.alone(i), world.alone(i, "uncond")) for i in range(count)]
    conds, unconds = map(np.stack, zip(*alone, strict=True))
    image_of, ands = world.row_map.image_of, world.row_map.weights

    def composed(acting: Sequence[Sequence[int]], top_k: int) -> Composed:
        return compose(
            *(base_cond, conds, base_uncond, unconds),
            patch_size=settings.patch_size,
            temperature=settings.temperature,
            top_k=top_k,
            top_k_scope="patch",
            recenter=settings.recenter,
            weighting=settings.weighting,
            gain=settings.gain,
            active=[[i in acting[image] for image in image_of] for i in range(count)],
            subprompts=(image_of, ands),
        )

    acting = [range(count)] * world.images if allowed is None else list(allowed)
    top_k = settings.top_k
    if top_k and settings.top_k_scope == "image":
        means = composed(acting, 0).similarity.mean((2, 3))  # [N, R]
        for image, networks in enumerate(acting):
            own = [row for row, owner in enumerate(image_of) if owner == image]
            shares = [abs(ands[row]) for row in own] if any(ands[row] for row in own) else [1.0] * len(own)
            acting[image] = sorted(networks, key=(means[:, own] @ shares).__getitem__)[:top_k]
        top_k = 0
    found = composed(acting, top_k)
    return found.cond, found.uncond, found.weights


def uses(count: int, kept: int = 0) -> tuple[NetworkUse, ...]:
    return tuple(NetworkUse(f"network {i}", 0.5 + 0.25 * i, compose=i < count) for i in range(count + kept))


def same(first: Prediction, second: Prediction) -> None:
    torch.testing.assert_close(first.cond, second.cond, rtol=0, atol=1e-10)
    assert (first.uncond is None) == (second.uncond is None)
    if first.uncond is not None:
        torch.testing.assert_close(first.uncond, second.uncond, rtol=0, atol=1e-10)


@st.composite
def rows_of(draw: st.DrawFn, images: int) -> RowMap | None:
    if draw(st.booleans()):
        return None
    extra = draw(st.lists(st.integers(0, images - 1), max_size=2))
    owners = draw(st.permutations([*range(images), *extra]))
    weights = [draw(st.sampled_from([1.0, 0.5, -0.7, 0.0, 2.0])) for _ in owners]
    return RowMap(tuple(owners), tuple(weights))


@st.composite
def worlds(draw: st.DrawFn, most: int = 4, least: int = 1) -> Any:
    images = draw(st.integers(1, 3))
    count = draw(st.integers(least, most))
    return World(
        uses=uses(count, kept=draw(st.integers(0, 1))),
        images=images,
        rows=draw(rows_of(images)),
        guided=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32 - 1)),
    )
