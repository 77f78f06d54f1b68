"""Draws the scenes of the embedded world: 64 × 64 RGB pictures with smooth edges.

Every form is a signed distance in pixels (negative inside), so that an edge is one pixel of blending and
an outline is a band around zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from loratorio_ext.cli.judge import NONE
from loratorio_lab.world.concepts import Scene

SIZE = 64
Array = NDArray[np.float64]

_ROWS, _COLUMNS = np.mgrid[0:SIZE, 0:SIZE]
_OUTLINE = np.array((32, 26, 38), np.float64) / 255

COLORS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (214, 40, 45),
        "orange": (242, 140, 30),
        "green": (38, 150, 62),
        "blue": (42, 88, 208),
        "purple": (140, 58, 182),
    }
)


def draw(scene: Scene, random: np.random.Generator) -> Array:
    """Draw a scene.

    A factor whose value is "none" is spoiled: left out, or drawn as something that has no name here. The
    judge learns its "none of these" from such pictures.

    Returns:
        float64 [64, 64, 3] in [0, 1].
    """
    picture = _background(scene["background"], random)
    if scene["shape"] != NONE or random.random() < 0.7:
        center = np.array((37, 26), np.float64) + random.uniform(-2, 2, 2)
        radius, angle = random.uniform(18.5, 21), random.uniform(-0.12, 0.12)
        y, x = _rotate(_ROWS - center[0], _COLUMNS - center[1], angle)
        distance = _SHAPES[scene["shape"]](y, x, float(radius), random)
        texture = _TEXTURES[scene["texture"]](y, x, random)
        ink = _ink(scene["color"], random)
        filled = ink + texture[..., None] * 0.85 * (1 - ink)
        picture = _paint(picture, distance, filled)
    if scene["object"] != NONE or random.random() < 0.5:
        center = np.array((13, 51), np.float64) + random.uniform(-1, 1, 2)
        y, x = _ROWS - center[0], _COLUMNS - center[1]
        for distance, color in _OBJECTS[scene["object"]](y, x, float(random.uniform(9.5, 10.5)), random):
            picture = _paint(picture, distance, color)
    return np.clip(picture, 0, 1)


def _paint(picture: Array, distance: Array, filling: Array) -> Array:
    inside = np.clip(0.5 - distance, 0, 1)[..., None]
    edge = np.clip(1.3 - np.abs(distance), 0, 1)[..., None]
    picture = picture + inside * (filling - picture)
    return picture + edge * (_OUTLINE - picture)


def _rotate(y: Array, x: Array, angle: float) -> tuple[Array, Array]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return cosine * y - sine * x, sine * y + cosine * x


def _rgb(color: tuple[int, int, int]) -> Array:
    return np.array(color, np.float64) / 255


def _ink(color: str, random: np.random.Generator) -> Array:
    if color == NONE:
        gray = random.uniform(0.15, 0.9)
        return np.full(3, gray) + random.uniform(-0.08, 0.08, 3)
    return np.clip(_rgb(COLORS[color]) * random.uniform(0.94, 1.06), 0, 1)


# ---------------------------------------------------------------- backgrounds


def _blotches(random: np.random.Generator, cells: int) -> Array:
    """A smooth random field in [0, 1]."""
    coarse = random.random((cells + 1, cells + 1))
    at = np.linspace(0, cells - 1e-3, SIZE, dtype=np.float64)
    low, part = at.astype(int), at - at.astype(int)
    rows: Array = coarse[low] * (1 - part)[:, None] + coarse[low + 1] * part[:, None]
    field: Array = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    return field


def _plain_background(color: tuple[int, int, int], random: np.random.Generator) -> Array:
    return np.tile(_rgb(color) * random.uniform(0.96, 1.04), (SIZE, SIZE, 1))


def _sunset(random: np.random.Generator) -> Array:
    stops = np.array(((84, 38, 116), (238, 104, 72), (255, 214, 116)), np.float64) / 255
    at = np.linspace(0, 2, SIZE, dtype=np.float64) + random.uniform(-0.12, 0.12)
    column = np.stack([np.interp(at, (0, 1, 2), stops[:, channel]) for channel in range(3)], -1)
    return np.repeat(column[:, None], SIZE, 1)


def _grid(random: np.random.Generator) -> Array:
    phase = random.uniform(-2, 2, 2)
    gap = [np.abs((axis + shift) % 16 - 8) for axis, shift in zip((_ROWS, _COLUMNS), phase, strict=True)]
    near = np.minimum(8 - gap[0], 8 - gap[1])
    lines: Array = np.clip(1.2 - near, 0, 1)[..., None]
    paper, blue = _rgb((246, 245, 236)), _rgb((92, 132, 196))
    return paper + lines * (blue - paper)


_UNNAMED_COLORS = ((120, 140, 60), (230, 120, 170), (128, 128, 128), (110, 60, 40))


def _unnamed_background(random: np.random.Generator) -> Array:
    kind = random.integers(4)
    if kind == 0:  # two known backgrounds, cut or blended
        first, second = (
            _background(str(name), random)
            for name in random.choice(("sky", "sand", "night", "sunset", "grid"), 2, replace=False)
        )
        mask = _blotches(random, 2) > 0.5
        return np.where(mask[..., None], first, second)
    if kind == 1:
        field = _blotches(random, int(random.integers(2, 12)))[..., None]
        return _any_color(random) * field + _any_color(random) * (1 - field)
    if kind == 2:  # a plain color that no background has
        return _plain_background(_UNNAMED_COLORS[random.integers(len(_UNNAMED_COLORS))], random)
    known = _background(str(random.choice(("sky", "sand", "night", "sunset", "grid"))), random)
    return np.clip(known + random.normal(0, 0.25, known.shape), 0, 1)


def _any_color(random: np.random.Generator) -> Array:
    return random.random(3)


def _background(name: str, random: np.random.Generator) -> Array:
    return _BACKGROUNDS[name](random)


_BACKGROUNDS: Mapping[str, Callable[[np.random.Generator], Array]] = MappingProxyType(
    {
        "sky": lambda random: _plain_background((168, 212, 242), random),
        "sand": lambda random: _plain_background((234, 212, 160), random),
        "night": lambda random: _plain_background((26, 32, 66), random),
        "sunset": _sunset,
        "grid": _grid,
        NONE: _unnamed_background,
    }
)

# ---------------------------------------------------------------- shapes


def _circle(y: Array, x: Array, r: float) -> Array:
    return np.hypot(y, x) - r * 0.95


def _square(y: Array, x: Array, r: float) -> Array:
    return np.maximum(np.abs(y), np.abs(x)) - r * 0.88


def _triangle(y: Array, x: Array, r: float) -> Array:
    y = y - r * 0.2
    slope = 0.8660254 * np.abs(x) - 0.5 * y
    return np.maximum(y, slope) - r * 0.62


def _star(y: Array, x: Array, r: float) -> Array:
    outer, inner, half = r * 1.12, r * 0.5, np.pi / 5
    angle = np.abs((np.arctan2(x, -y) + half) % (2 * half) - half)
    along, across = np.hypot(y, x) * np.cos(angle), np.hypot(y, x) * np.sin(angle)
    edge = np.array((inner * np.cos(half) - outer, inner * np.sin(half)))
    normal = np.array((edge[1], -edge[0])) / np.hypot(*edge)
    distance: Array = (along - outer) * normal[0] + across * normal[1]
    return distance


def _heart(y: Array, x: Array, r: float) -> Array:
    half = r * 0.7  # a square on its corner, and a half circle on each of its upper sides
    y = y + half * 0.1
    corner = (np.abs(x) + np.abs(y)) * 0.70710678 - half
    lobe = half * 0.70710678
    return np.minimum(corner, np.hypot(np.abs(x) - lobe, y + lobe) - half)


def _blob(y: Array, x: Array, r: float, random: np.random.Generator) -> Array:
    angle = np.arctan2(y, x)
    waves = sum(random.normal(0, 0.16) * np.sin(k * angle + random.uniform(0, 6.3)) for k in range(2, 6))
    return np.hypot(y, x) - r * (0.8 + waves)


def _unnamed_shape(y: Array, x: Array, r: float, random: np.random.Generator) -> Array:
    if random.random() < 0.5:
        return _blob(y, x, r, random)
    forms = (_circle, _square, _triangle, _star, _heart)
    first, second = (forms[int(i)] for i in random.choice(len(forms), 2, replace=False))
    cut = random.uniform(-0.3, 0.3) * r
    return np.where((x if random.random() < 0.5 else y) < cut, first(y, x, r), second(y, x, r))


_SHAPES: Mapping[str, Callable[[Array, Array, float, np.random.Generator], Array]] = MappingProxyType(
    {
        "circle": lambda y, x, r, random: _circle(y, x, r),
        "square": lambda y, x, r, random: _square(y, x, r),
        "triangle": lambda y, x, r, random: _triangle(y, x, r),
        "star": lambda y, x, r, random: _star(y, x, r),
        "heart": lambda y, x, r, random: _heart(y, x, r),
        NONE: _unnamed_shape,
    }
)

# ---------------------------------------------------------------- textures: 0 is the ink, 1 is almost white
#
# A texture lies on its shape's centre, give or take. With a free phase the model would have to settle on one
# at the highest noise, which a model of this size does badly.

_LOOSE = 1.5


def _step(wave: Array) -> Array:
    """A soft step from 0 to 1 where ``wave`` (in pixels) passes zero."""
    return np.clip(wave + 0.5, 0, 1)


def _stripe(at: Array, period: float) -> Array:
    return _step(np.abs(at % period - period / 2) - period / 4)


def _striped(y: Array, x: Array, random: np.random.Generator) -> Array:
    return _stripe(x + random.uniform(-_LOOSE, _LOOSE), 12)


def _dotted(y: Array, x: Array, random: np.random.Generator) -> Array:
    shift = random.uniform(-_LOOSE, _LOOSE, 2)
    return _step(3.8 - np.hypot((y + shift[0]) % 13 - 6.5, (x + shift[1]) % 13 - 6.5))


def _checkered(y: Array, x: Array, random: np.random.Generator) -> Array:
    shift = random.uniform(-_LOOSE, _LOOSE, 2)
    across, down = (_stripe(axis + s, 20) for axis, s in zip((x, y), shift, strict=True))
    return across + down - 2 * across * down


def _ringed(y: Array, x: Array, random: np.random.Generator) -> Array:
    return _stripe(np.hypot(y, x) + random.uniform(-_LOOSE, _LOOSE), 14)


def _unnamed_texture(y: Array, x: Array, random: np.random.Generator) -> Array:
    kind = random.integers(3)
    if kind == 0:
        return _step(8 * (_blotches(random, int(random.integers(6, 16))) - 0.5))
    if kind == 1:  # stripes that run in no usual direction and are far too wide or too fine
        return _stripe(y + random.uniform(0, 9), float(random.choice((5, 28))))
    textures = (_striped, _dotted, _checkered, _ringed)
    first, second = (textures[int(i)](y, x, random) for i in random.choice(len(textures), 2, replace=False))
    return 0.5 * (first + second)


_TEXTURES: Mapping[str, Callable[[Array, Array, np.random.Generator], Array]] = MappingProxyType(
    {
        "plain": lambda y, x, random: np.zeros_like(x),
        "striped": _striped,
        "dotted": _dotted,
        "checkered": _checkered,
        "ringed": _ringed,
        NONE: _unnamed_texture,
    }
)

# ---------------------------------------------------------------- objects: (distance, color) painted in order

Layers = list[tuple[Array, Array]]


def _moon(y: Array, x: Array, r: float) -> Layers:
    bite = np.hypot(y + r * 0.25, x - r * 0.55) - r * 0.85
    return [(np.maximum(np.hypot(y, x) - r * 1.05, -bite), _rgb((255, 228, 128)))]


def _flower(y: Array, x: Array, r: float) -> Layers:
    angle = np.arctan2(x, -y)
    petals = np.hypot(y, x) - r * (0.78 + 0.3 * np.cos(5 * angle))
    return [(petals * 0.8, _rgb((240, 110, 170))), (np.hypot(y, x) - r * 0.3, _rgb((252, 208, 60)))]


def _unnamed_object(y: Array, x: Array, r: float, random: np.random.Generator) -> Layers:
    return [(_blob(y, x, r * random.uniform(0.6, 1), random), _any_color(random))]


_OBJECTS: Mapping[str, Callable[[Array, Array, float, np.random.Generator], Layers]] = MappingProxyType(
    {
        "ball": lambda y, x, r, random: [(np.hypot(y, x) - r * 0.95, _rgb((240, 240, 244)))],
        "box": lambda y, x, r, random: [(np.maximum(np.abs(y), np.abs(x)) - r * 0.85, _rgb((150, 98, 58)))],
        "kite": lambda y, x, r, random: [((np.abs(y) + np.abs(x)) * 0.72 - r * 0.8, _rgb((30, 176, 176)))],
        "moon": lambda y, x, r, random: _moon(y, x, r),
        "flower": lambda y, x, r, random: _flower(y, x, r),
        NONE: _unnamed_object,
    }
)
