"""Conditions as each source sees them, encoded by the WebUI itself and cached for the next generation."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# The WebUI's own caches, attributes of p (modules/processing.py): [arguments, conditions] each, with a third
# entry on Forge.
_CACHES = ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc")
_ENCODED = ("c", "uc", "hr_c", "hr_uc")
_LEAST_KEPT = 32


@dataclass(frozen=True)
class Conditions:
    """``c`` and ``uc`` of one pass, including prompt editing, as the WebUI's sampler takes them.

    ``uc`` is None where the WebUI encodes no negative prompt (Forge at a CFG scale of 1).
    """

    c: Any
    uc: Any


class _Cache(list[Any]):
    """[arguments, conditions] that returns copies: ControlNet writes marks into what it is given."""

    def __getitem__(self, place: Any) -> Any:
        value = super().__getitem__(place)
        return copy.deepcopy(value) if place == 1 else value


class ConditionStore:
    """Encoded prompts, by the networks that acted in the text encoders.

    The WebUI's caches know a prompt's tags and the checkpoint, but not which networks were really merged;
    so every set of networks gets caches of its own here, and the WebUI's stay as they are.
    """

    def __init__(self) -> None:
        self._caches: OrderedDict[Hashable, dict[str, _Cache]] = OrderedDict()
        self._most = _LEAST_KEPT

    def expect(self, sources: int) -> None:
        """Keep at least as much as a generation with this many sources, and the one before it, need."""
        self._most = max(_LEAST_KEPT, 2 * sources)

    def use(self, p: Any, key: Hashable | None) -> None:
        """From here on ``p`` uses the caches of ``key``; None: new ones that are not kept."""
        for name, cache in self._of(p, key).items():
            if hasattr(p, name):
                setattr(p, name, cache)

    def encode(self, p: Any, key: Hashable | None, encode: Callable[[Any], tuple[Any, Any]]) -> Conditions:
        """The prompts of the pass that ``p`` is in, by ``encode(p) → (c, uc)`` with the caches of ``key``."""
        with _unchanged(p):
            self.use(p, key)
            return Conditions(*encode(p))

    def _of(self, p: Any, key: Hashable | None) -> dict[str, _Cache]:
        if key is None:
            return _new_caches(p)
        found = self._caches.setdefault(key, {})
        found.update({name: cache for name, cache in _new_caches(p).items() if name not in found})
        self._caches.move_to_end(key)
        while len(self._caches) > self._most:
            self._caches.popitem(last=False)
        return found


def encode_pass(p: Any, setup_conds: Callable[[Any], object]) -> tuple[Any, Any]:
    """(c, uc) of the pass that ``p`` is in, encoded by the text encoders as they are now.

    Like p.setup_conds, without what that does for a later hires pass (modules/processing.py).

    Args:
        p: of the generation.
        setup_conds: StableDiffusionProcessing.setup_conds, the one without hires fix.
    """
    if getattr(p, "is_hr_pass", False):
        p.hr_c = None
        p.calculate_hr_conds()
    else:
        setup_conds(p)
    return p.get_conds()  # type: ignore[no-any-return]


def _new_caches(p: Any) -> dict[str, _Cache]:
    """As many as ``p`` has, and as long: Forge's third entry is what encoding adds to the infotext."""
    kept = {name: getattr(type(p), name) for name in _CACHES if hasattr(type(p), name)}
    return {name: _Cache([None] * len(cache)) for name, cache in kept.items()}


@contextmanager
def _unchanged(p: Any) -> Iterator[None]:
    """Undo what encoding leaves on ``p``."""
    names = [name for name in (*_CACHES, *_ENCODED) if hasattr(p, name)]
    before = {name: getattr(p, name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(p, name, value)


def use_the_webui_s_caches(p: Any) -> None:
    """Let ``p`` use the WebUI's own caches again."""
    for name in _CACHES:
        if hasattr(type(p), name):
            setattr(p, name, getattr(type(p), name))
