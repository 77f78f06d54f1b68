"""Conditions as each source sees them, encoded by the WebUI itself and kept for the next generation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.networks import ComposedNetwork, merged

# The WebUI's own caches, as they are called on p (modules/processing.py): [arguments, conditions] each.
_CACHES = ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc")
_ENCODED = ("c", "uc", "hr_c", "hr_uc")
_KEPT_SOURCES = 32


@dataclass(frozen=True)
class Conditions:
    """``c`` and ``uc`` of one pass with all their prompt editing, as the WebUI's sampler takes them."""

    c: Any
    uc: Any


@dataclass
class ConditionStore:
    """Encoded prompts by the networks that were at work in the text encoders.

    The WebUI's caches know a prompt's tags and the checkpoint, but not which networks were really merged;
    so every set of networks gets caches of its own here, and the WebUI's stay as they are.
    """

    _caches: OrderedDict[tuple[object, ...], dict[str, list[Any]]] = field(default_factory=OrderedDict)

    def use(self, p: Any, networks: Sequence[ComposedNetwork]) -> None:
        """From here on ``p`` looks into the caches of these networks, beside the kept ones."""
        for name, cache in self._of(networks).items():
            if hasattr(p, name):
                setattr(p, name, cache)

    def encode(self, p: Any, networks: Sequence[ComposedNetwork]) -> Conditions:
        """The prompts of the pass that ``p`` is in, with the text encoder parts of these networks."""
        with _unchanged(p):
            self.use(p, networks)
            with merged(networks):
                return Conditions(*webui.encode(p))

    def _of(self, networks: Sequence[ComposedNetwork]) -> dict[str, list[Any]]:
        if not webui.keeps_conds():
            return _new_caches()
        kept = [(one.name, one.mtime, one.te_multiplier, one.dyn_dim) for one in webui.loaded_networks()]
        key = (tuple(kept), tuple(one.identity for one in networks))
        found = self._caches.setdefault(key, _new_caches())
        self._caches.move_to_end(key)
        while len(self._caches) > _KEPT_SOURCES:
            self._caches.popitem(last=False)
        return found


def _new_caches() -> dict[str, list[Any]]:
    return {name: [None, None] for name in _CACHES}


@contextmanager
def _unchanged(p: Any) -> Iterator[None]:
    """What encoding leaves on ``p`` is undone."""
    names = [name for name in (*_CACHES, *_ENCODED) if hasattr(p, name)]
    before = {name: getattr(p, name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(p, name, value)


def forget(p: Any) -> None:
    """Let ``p`` look into the WebUI's own caches again."""
    for name in _CACHES:
        if hasattr(type(p), name):
            setattr(p, name, getattr(type(p), name))
