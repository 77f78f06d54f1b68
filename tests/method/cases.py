"""Random predictions and settings for `compose`, as torch tensors and for the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from loratorio_ext.method import Composition, RowMap, compose
from tests.method import reference

Test = Callable[..., None]
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def drawn(**others: st.SearchStrategy[Any]) -> Callable[[Test], Test]:
    """Forty examples of a test, from ``data`` and what else is named."""
    return lambda test: settings(max_examples=40, deadline=None)(given(data=st.data(), **others)(test))


@dataclass(frozen=True, eq=False)
class Case:
    base_cond: Tensor
    network_conds: Tensor
    base_uncond: Tensor | None
    network_unconds: Tensor | None
    settings: dict[str, Any] = field(default_factory=dict)
    active: Tensor | None = None
    latent: Tensor | None = None  # the cosine is taken of latent - prediction
    row_map: RowMap | None = None

    def but(self, **changes: Any) -> Case:
        """The same with other tensors, or with other settings where the name is one."""
        own = {name: changes.pop(name) for name in list(changes) if name in Case.__dataclass_fields__}
        return replace(self, settings={**self.settings, **changes}, **own)

    def with_value(self, name: str, place: Any, value: float) -> Case:
        """The same where one tensor holds this value at this place."""
        tensor: Tensor = getattr(self, name).clone()
        tensor[place] = value
        return self.but(**{name: tensor})

    def run(self) -> Composition:
        latent = self.latent
        return compose(
            self.base_cond,
            self.network_conds,
            self.base_uncond,
            self.network_unconds,
            active=self.active,
            compare_as=None if latent is None else lambda e: latent - e,
            rows=self.row_map,
            **self.settings,
        )

    def run_reference(self) -> reference.Composed:
        latent = None if self.latent is None else as_float64(self.latent)
        return reference.compose(
            as_float64(self.base_cond),
            as_float64(self.network_conds),
            None if self.base_uncond is None else as_float64(self.base_uncond),
            None if self.network_unconds is None else as_float64(self.network_unconds),
            active=None if self.active is None else self.active.numpy(),
            compare_as=None if latent is None else lambda e: latent - e,
            subprompts=None if self.row_map is None else (self.row_map.image_of, self.row_map.weights),
            floor=4 * torch.finfo(self.base_cond.dtype).eps ** 2,
            **self.settings,
        )


def as_float64(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    return tensor.to(torch.float64).numpy()


def make(
    seed: int,
    *,
    networks: int = 3,
    rows: int = 2,
    images: int | None = None,
    size: tuple[int, int, int] = (4, 6, 8),
    spread: float = 0.1,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    guided: bool = True,
    **chosen: Any,
) -> Case:
    """Networks that differ from the base by about ``spread``, each by its own amount at every place."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Tensor:
        return torch.from_numpy(np.asarray(rng.standard_normal(shape)))

    images = rows if images is None else images
    strength = spread * torch.from_numpy(rng.uniform(0.2, 2, (networks, 1, 1, *size[1:])))
    base, base_uncond = draw(rows, *size), draw(images, *size)
    conds = base + strength * draw(networks, rows, *size)
    unconds = base_uncond + strength * draw(networks, images, *size)
    defaults = {"patch_size": 2, "temperature": 0.1, "top_k": 0, "top_k_scope": "image", "recenter": 0.5}
    return Case(
        (scale * base).to(dtype),
        (scale * conds).to(dtype),
        (scale * base_uncond).to(dtype) if guided else None,
        (scale * unconds).to(dtype) if guided else None,
        {**defaults, **chosen},
    )


@st.composite
def cases(
    draw: Callable[[st.SearchStrategy[Any]], Any],
    dtypes: tuple[torch.dtype, ...] = (torch.float32,),
    max_networks: int = 4,
    plain: bool = False,
    **fixed: Any,
) -> Case:
    """Cases of every kind; ``plain``: all networks active, no sub-prompts, compared as they are."""
    whole, pick = st.integers, st.sampled_from
    networks, images = draw(whole(1, max_networks)), draw(whole(1, 2))
    extra = () if plain else tuple(draw(st.lists(whole(0, images - 1), max_size=2)))
    owners = draw(st.permutations((*range(images), *extra)))
    size = (draw(whole(1, 3)), draw(whole(1, 7)), draw(whole(1, 7)))
    dtype, seed = draw(pick(dtypes)), draw(whole(0, 2**32))
    case = make(
        seed,
        networks=networks,
        rows=len(owners),
        images=images,
        size=size,
        spread=draw(pick([1e-3, 0.03, 0.3, 2.0])),
        scale=draw(pick([1.0, 1e-2, 100.0])),
        dtype=dtype,
        guided=draw(st.booleans()),
        patch_size=draw(whole(1, 9)),
        temperature=draw(pick([1e-3, 0.01, 0.1, 0.5, 1.0, 30.0])),
        top_k=draw(whole(0, networks + 1)),
        top_k_scope=draw(pick(["image", "patch"])),
        recenter=draw(pick([0.0, 0.25, 0.5, 0.9, 1.0])),
        weighting=draw(pick(["difference", "relative"])),
    )
    if plain:
        return case.but(**fixed)
    if draw(st.booleans()) or len(owners) != images:
        ands = draw(st.lists(pick([1.0, 0.0, -0.7, 2.5]), min_size=len(owners), max_size=len(owners)))
        case = case.but(row_map=RowMap(tuple(owners), tuple(ands)))
    if draw(st.booleans()):
        shape = draw(pick([(networks,), (networks, len(owners))]))
        flags = draw(st.lists(st.booleans(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        case = case.but(active=torch.tensor(flags).reshape(shape))
    if draw(st.booleans()):
        latent = torch.from_numpy(np.random.default_rng(seed + 1).standard_normal((1, *size))).to(dtype)
        case = case.but(latent=latent)
    return case.but(**fixed)
