"""Patchers with one table of patches for all networks, without the files that they come from."""

from __future__ import annotations

import uuid
import weakref
from abc import ABC, abstractmethod
from ast import literal_eval
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from loratorio_ext.hosts.forge.backend import Patches, PatchKey
from loratorio_ext.hosts.forge.webui import (
    current_networks,
    model_identity,
    objects_with_networks,
    original_objects,
)

OTHERS: PatchKey = ("", 1.0, 1.0, False)
"""Whatever is in a patcher's table and comes from none of the prompt's networks."""

_Table = dict[str, list[Sequence[Any]]]


class OneTable(ABC):
    """The part of `Backend` that has to do with patches, for Forge Neo, reForge and Forge Classic.

    Networks are told apart by their order: each adds its patches behind those of the one before, and what it
    adds is found by reading its file again.
    """

    def __init__(self) -> None:
        """Nothing is asked of the WebUI yet."""
        self._counts = lru_cache(maxsize=256)(self._counts_in_file)
        # By patcher: what its table held, and whose that is. Kept, since a refiner in the same UNet makes the
        # WebUI forget what it has loaded (apply_refiner).
        self._found: weakref.WeakKeyDictionary[Any, tuple[_Table, Mapping[PatchKey, _Table]]] = (
            weakref.WeakKeyDictionary()
        )
        # By the WebUI's patcher of the prompt: the table that was last put beside it, and its identity.
        self._put: weakref.WeakKeyDictionary[Any, tuple[_Table, Any]] = weakref.WeakKeyDictionary()

    @abstractmethod
    def read_into_clones(self, file: str, unet: float, te: float) -> tuple[Any, Any]:
        """(UNet, text encoders) with a network and no others, at these strengths."""

    def patches_of_file(self, file: str) -> tuple[Patches, Patches]:
        """See `Backend`."""
        return self._of_file(file, 1.0, 1.0)

    def patches_in(self, patcher: Any) -> Mapping[PatchKey, Patches]:
        """ValueError where the networks of the prompt cannot be told apart."""
        owners = {
            id(entry): key
            for key, table in self._of_networks(self._is_unet(patcher)).items()
            for entries in table.values()
            for entry in entries
        }
        found: dict[PatchKey, _Table] = {}
        for name, entries in patcher.patches.items():
            for entry in entries:
                of_network = found.setdefault(owners.get(id(entry), OTHERS), {})
                of_network.setdefault(name, []).append(entry)
        return found

    def put_patches(self, patcher: Any, patches: Mapping[PatchKey, Patches]) -> Any:
        """In the order in which the WebUI has them, since that is the order in which it adds them up."""
        is_unet = self._is_unet(patcher)
        of_prompt = _patcher(objects_with_networks(), is_unet)
        places = {
            id(entry): place for table in of_prompt.patches.values() for place, entry in enumerate(table)
        }
        table: _Table = {}
        for of_network in patches.values():
            for name, entries in of_network.items():
                table.setdefault(name, []).extend(entries)
        for entries in table.values():
            entries.sort(key=lambda entry: places.get(id(entry), len(places)))
        # Weights are merged anew for every identity that the WebUI does not know; Forge Classic has none, and
        # merges for every clone.
        patcher.patches = table
        if hasattr(patcher, "patches_uuid"):
            theirs = (_patcher(original_objects(), is_unet), of_prompt)
            known = [(one.patches, one.patches_uuid) for one in theirs]
            known += [self._put[of_prompt]] if of_prompt in self._put else []
            new = (table, uuid.uuid4())
            patcher.patches_uuid = next(one for patches, one in (*known, new) if _same(patches, table))
            copied = {name: [*entries] for name, entries in table.items()}
            self._put[of_prompt] = copied, patcher.patches_uuid
        return patcher

    def _is_unet(self, patcher: Any) -> bool:
        return bool(original_objects().unet.is_clone(patcher))

    def _of_networks(self, is_unet: bool) -> Mapping[PatchKey, _Table]:
        """What each network of the last activation has added to a patcher's table, by its key."""
        patcher = _patcher(objects_with_networks(), is_unet)
        known = self._found.get(patcher)
        # Other extensions may have given patches other strengths since.
        if known is None or not _same(known[0], patcher.patches):
            table = {name: list(entries) for name, entries in patcher.patches.items()}
            known = self._found[patcher] = table, self._told_apart(table, is_unet)
        return known[1]

    def _told_apart(self, table: _Table, is_unet: bool) -> Mapping[PatchKey, _Table]:
        original = _patcher(original_objects(), is_unet).patches
        left = {name: entries[len(original.get(name, ())) :] for name, entries in table.items()}
        found: dict[PatchKey, _Table] = {}
        # The WebUI's own record of what it has loaded (networks.py, load_networks).
        for file, unet, te, *online in literal_eval(current_networks()):
            version = Path(file).stat().st_mtime
            counts = self._counts(file, version, model_identity(), unet != 0, te != 0)[0 if is_unet else 1]
            key: PatchKey = (file, unet if is_unet else te, 1.0, any(online))
            for name, count in counts.items():
                own, left[name] = left.get(name, [])[:count], left.get(name, [])[count:]
                if len(own) < count:
                    raise ValueError(
                        f"what {Path(file).name} has changed cannot be told from what others have"
                    )
                found.setdefault(key, {}).setdefault(name, []).extend(own)
        return found

    def _counts_in_file(
        self, file: str, version: float, model: tuple[int, str], unet: bool, te: bool
    ) -> tuple[dict[str, int], dict[str, int]]:
        """How many patches a file has for each parameter; reForge reads no part whose strength is 0."""
        of_unet, of_clip = self._of_file(file, float(unet), float(te))
        return _counted(of_unet), _counted(of_clip)

    def _of_file(self, file: str, unet: float, te: float) -> tuple[Patches, Patches]:
        with_unet, with_clip = self.read_into_clones(file, unet, te)
        original = original_objects()
        return _added(with_unet, original.unet), _added(with_clip.patcher, original.clip.patcher)


def _patcher(objects: Any, is_unet: bool) -> Any:
    return objects.unet if is_unet else objects.clip.patcher


def _added(patcher: Any, parent: Any) -> _Table:
    """What a patcher's table has beyond its parent's."""
    added = {
        name: list(entries[len(parent.patches.get(name, ())) :]) for name, entries in patcher.patches.items()
    }
    return {name: entries for name, entries in added.items() if entries}


def _counted(patches: Patches) -> dict[str, int]:
    return {name: len(entries) for name, entries in patches.items()}


def _same(one: Mapping[str, Sequence[Any]], other: Mapping[str, Sequence[Any]]) -> bool:
    return one.keys() == other.keys() and all(
        len(entries) == len(other[name]) and all(map(lambda a, b: a is b, entries, other[name]))
        for name, entries in one.items()
    )
