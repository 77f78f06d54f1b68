"""Everything that is asked of Forge Neo and not of Forge; the only file here that names its modules.

File references are to Haoming02/sd-webui-forge-classic, branch neo, release 2.26. Its patchers have one table
of patches for all networks, without the files that they come from (backend/patcher/base.py).
"""

from __future__ import annotations

import uuid
import weakref
from ast import literal_eval
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import networks as lora_networks
from backend import args, memory_management
from backend.patcher import base, lora
from backend.sampling import condition, sampling_function
from backend.state_dict import state_dict_prefix_replace
from modules import shared
from torch import Tensor, nn

from loratorio_ext.hosts.forge.backend import Patches, PatchKey
from loratorio_ext.hosts.forge.webui import model_identity, objects_with_networks, plain_weight

OTHERS: PatchKey = ("", 1.0, 1.0, False)
"""Whatever is in a patcher's table and comes from none of the prompt's networks."""

_Table = dict[str, list[Sequence[Any]]]


def missing_parts() -> list[str]:
    """What composing needs and this backend lacks."""
    needed = (
        (base.ModelPatcher, "add_patches"),
        (base.ModelPatcher, "partially_load"),
        (base, "LowVramPatch"),
        (lora, "merge_lora_to_weight"),
        (args, "dynamic_args"),
        (sampling_function, "get_area_and_mult"),
        (sampling_function, "calc_cond_uncond_batch"),
        (sampling_function, "sampling_prepare"),
        (condition, "compile_weighted_conditions"),
        (lora_networks, "load_lora_for_models"),
        (lora_networks, "load_lora_state_dict"),
        (lora_networks, "loaded_networks"),
    )
    return [f"{owner.__name__}.{name}" for owner, name in needed if not hasattr(owner, name)]


class NeoBackend:
    """See `Backend`.

    Networks are told apart by the clones that Neo makes of a patcher, one for each network that fits: what a
    clone has beyond its parent is that network's.
    """

    def __init__(self) -> None:
        self._names = lru_cache(maxsize=256)(self._names_in_file)
        # By patcher: what its table held, and whose that is. Kept, since a refiner in the same UNet makes Neo
        # forget what it has loaded (apply_refiner).
        self._found: weakref.WeakKeyDictionary[Any, tuple[_Table, Mapping[PatchKey, _Table]]] = (
            weakref.WeakKeyDictionary()
        )
        self._last: dict[bool, weakref.ref[Any]] = {}  # the patchers that were last put, of UNet and of text

    def obstacle(self) -> str | None:
        """Where networks do not stand in patchers, or where hooks on layers are not called."""
        if args.dynamic_args.nunchaku:
            return "Nunchaku keeps networks inside its own model, where they cannot be evaluated one by one"
        model = getattr(shared, "sd_model", None)
        unet = getattr(getattr(model, "forge_objects", None), "unet", None)
        if getattr(getattr(unet, "model", None), "_torch_compile_config", None) is not None:
            return "the model is compiled, and networks cannot be taken out of it; switch Torch Compile off"
        return None

    def check_latents(self, x: Tensor) -> None:
        if x.dim() == 5 and x.shape[2] != 1:
            raise ValueError(
                f"the latents are a video of {x.shape[2]} frames; only still pictures can be composed"
            )
        if getattr(args.dynamic_args.context_handler, "should_use_context", lambda x: False)(x):
            raise ValueError("the model looks at the picture window by window")

    def calls_rows_alone(self) -> bool:
        """References are for the rows of one image (nn/anima.py, nn/wan.py)."""
        return bool(args.dynamic_args.ref_latents) or args.dynamic_args.concat_latent is not None

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
        """In the order in which Neo has them, since that is the order in which it adds them up."""
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
        # Weights are merged anew for every identity that Neo does not know.
        last = self._last.get(is_unet, lambda: None)()
        original = _patcher(shared.sd_model.forge_objects_original, is_unet)
        known = [one for one in (original, of_prompt, last) if one is not None and _same(one.patches, table)]
        patcher.patches = table
        patcher.patches_uuid = known[0].patches_uuid if known else uuid.uuid4()
        self._last[is_unet] = weakref.ref(patcher)
        return patcher

    def load_again(self, patcher: Any) -> None:
        memory_management.load_model_gpu(patcher)

    def patches_of_file(self, file: str) -> tuple[Patches, Patches]:
        original = shared.sd_model.forge_objects_original
        tensors = lora_networks.load_lora_state_dict(file)
        if any(key.startswith("lora_unet__") for key in tensors):
            tensors = state_dict_prefix_replace(tensors, {"lora_unet__": "lora_unet_"})
        online = bool(args.dynamic_args.online_lora)
        unet, clip = lora_networks.load_lora_for_models(
            original.unet, original.clip, tensors, 1.0, 1.0, filename=file, online_mode=online
        )
        of_unet = _added(unet, original.unet, unet.patches)
        return of_unet, _added(clip.patcher, original.clip.patcher, clip.patcher.patches)

    def difference(self, layer: nn.Module, patch: Sequence[Any]) -> Tensor:
        """Into a copy, since Neo merges in place; ValueError for a patch that changes the weight's shape."""
        weight = self._weight(layer)
        _, value, strength_of_model, offset, function = patch[:5]
        one = (1.0, value, strength_of_model, offset, function)
        merged: Tensor = lora.merge_lora_to_weight([one], weight.clone(), "composed")
        if merged.shape != weight.shape:
            raise ValueError(f"it turns a weight of {tuple(weight.shape)} into one of {tuple(merged.shape)}")
        return merged - weight

    def _weight(self, layer: Any) -> Tensor:
        """In float32; layers of mixed precision have a function for it (operations_mixed_precision.py)."""
        convert = getattr(layer, "convert_weight", None)
        if convert is None:
            return plain_weight(layer)
        weight: Tensor = convert(layer.weight.detach())
        return weight.float()

    def _is_unet(self, patcher: Any) -> bool:
        return bool(shared.sd_model.forge_objects_original.unet.is_clone(patcher))

    def _of_networks(self, is_unet: bool) -> Mapping[PatchKey, _Table]:
        """What each network of the last activation has added to a patcher's table, by its key."""
        patcher = _patcher(objects_with_networks(), is_unet)
        known = self._found.get(patcher)
        # Other extensions may have given patches other strengths since.
        if known is None or not _same(known[0], patcher.patches):
            table = {name: list(entries) for name, entries in patcher.patches.items()}
            known = self._found[patcher] = table, self._told_apart(patcher, is_unet)
        return known[1]

    def _told_apart(self, patcher: Any, is_unet: bool) -> Mapping[PatchKey, _Table]:
        original = _patcher(shared.sd_model.forge_objects_original, is_unet)
        links: list[_Table] = []
        clone = patcher
        while clone is not None and clone is not original:
            if clone.parent is not None:
                links.insert(0, _added(clone, clone.parent, patcher.patches))
            clone = clone.parent
        found: dict[PatchKey, _Table] = {}
        # Neo's own record of what it has loaded (sd_forge_lora/networks.py, load_networks).
        for file, unet, te, online in literal_eval(shared.sd_model.current_lora_hash):
            version = Path(file).stat().st_mtime
            names = self._names(file, version, model_identity())[0 if is_unet else 1]
            if not names:
                continue
            place = next((place for place, link in enumerate(links) if link.keys() == names), None)
            if place is None:
                raise ValueError(f"what {Path(file).name} has changed cannot be told from what others have")
            of_network = found.setdefault((file, unet if is_unet else te, 1.0, bool(online)), {})
            for name, entries in links[place].items():
                of_network.setdefault(name, []).extend(entries)
            del links[: place + 1]
        return found

    def _names_in_file(
        self, file: str, version: float, model: tuple[int, str]
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Names of the parameters of UNet and text encoders that a file changes."""
        unet, clip = self.patches_of_file(file)
        return frozenset(unet), frozenset(clip)


def _patcher(objects: Any, is_unet: bool) -> Any:
    return objects.unet if is_unet else objects.clip.patcher


def _added(patcher: Any, parent: Any, table: Mapping[str, Sequence[Any]]) -> _Table:
    """What stands in ``table``, a later clone's, where a patcher's own has more than its parent's."""
    found: _Table = {}
    for name, entries in patcher.patches.items():
        new = table.get(name, ())[len(parent.patches.get(name, ())) : len(entries)]
        if new:
            found[name] = list(new)
    return found


def _same(one: Mapping[str, Sequence[Any]], other: Mapping[str, Sequence[Any]]) -> bool:
    return one.keys() == other.keys() and all(
        len(entries) == len(other[name]) and all(map(lambda a, b: a is b, entries, other[name]))
        for name, entries in one.items()
    )
