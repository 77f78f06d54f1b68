"""Forge's networks, taken over so that neither UNet nor text encoders carry the composed ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.backend import Backend, Patches, PatchKey
from loratorio_ext.hosts.webuis.adapter import ExtraNetworkData
from loratorio_ext.hosts.webuis.networks import tags_of_networks


@dataclass(frozen=True, eq=False)
class ComposedNetwork:
    """One network that takes part.

    Attributes:
        name: as the prompt names it.
        file: where it was read from.
        te: strength of its text encoder part.
        unet: strength of its UNet part.
        unet_patches: what it does to the UNet at strength ``unet``.
        clip_patches: what it does to the text encoders at strength ``te``.
        in_prompt: whether the prompt names it; otherwise it comes from the pool.
        version: of a file of the pool, which is read again when it has changed; Forge does not do so.
        forge_unet_key: the key of its UNet part in Forge; None: Forge has no such part.
        forge_clip_key: the same for its text encoder part.
    """

    name: str
    file: str
    te: float
    unet: float
    unet_patches: Patches = field(default_factory=dict)
    clip_patches: Patches = field(default_factory=dict)
    in_prompt: bool = True
    version: float | None = None
    forge_unet_key: PatchKey | None = None
    forge_clip_key: PatchKey | None = None

    @property
    def changes_text(self) -> bool:
        """Whether it changes the text encoding."""
        return self.te != 0 and bool(self.clip_patches)

    @property
    def clip_key(self) -> PatchKey:
        """The key of its text encoder part in Forge when we merge it."""
        if self.forge_clip_key is not None:
            return (*self.forge_clip_key[:3], False)
        file = self.file if self.version is None else f"{self.file}@{self.version}"
        return (file, self.te, 1.0, False)


def networks_of_prompt(
    backend: Backend, data: ExtraNetworkData, kept: Collection[str]
) -> list[ComposedNetwork]:
    """The composed networks among those that Forge has loaded for the prompt, still without patches.

    A network that is named twice with the same strengths counts once, as it does in Forge. One that Forge's
    option "Add network to prompt" has added is in no tag.
    """
    files = {one.mentioned_name: one.network_on_disk.filename for one in webui.loaded_networks()}
    patchers = webui.objects_with_networks()
    of_unet, of_clip = backend.patches_in(patchers.unet), backend.patches_in(patchers.clip.patcher)
    tags = [params for params in tags_of_networks(data) if params.positional[0] in files]
    tagged = [(params.positional[0], strengths_of(params)) for params in tags]
    names = {name for name, _ in tagged}
    added = [
        (name, (_strength(of_clip, file), _strength(of_unet, file)))
        for name, file in files.items()
        if name not in names
    ]
    found: dict[tuple[str, float, float], ComposedNetwork] = {}
    for name, (te, unet) in (*tagged, *added):
        if name not in kept:
            found[files[name], te, unet] = ComposedNetwork(name, files[name], te, unet)
    return list(found.values())


def with_patches(backend: Backend, networks: Sequence[ComposedNetwork]) -> list[ComposedNetwork]:
    """The networks with the patches that Forge's patchers hold for them now.

    Until a prompt is encoded or a sampler begins, other extensions may give a network's patches another key,
    and each patch its own strength (LoRA Block Weight).
    """
    patchers = webui.objects_with_networks()
    of_unet, of_clip = backend.patches_in(patchers.unet), backend.patches_in(patchers.clip.patcher)
    ours = [one for one in networks if one.in_prompt]
    unet_keys = _keys(of_unet, [(one.file, one.unet) for one in ours])
    clip_keys = _keys(of_clip, [(one.file, one.te) for one in ours])
    found = {
        one: replace(
            one,
            forge_unet_key=unet_key,
            forge_clip_key=clip_key,
            unet_patches={} if unet_key is None else of_unet[unet_key],
            clip_patches={} if clip_key is None else of_clip[clip_key],
        )
        for one, unet_key, clip_key in zip(ours, unet_keys, clip_keys, strict=True)
    }
    return [found.get(one, one) for one in networks]


def network_of_pool(backend: Backend, name: str, file: str) -> ComposedNetwork:
    """A network that no tag names, at strength 1."""
    unet, clip = backend.patches_of_file(file)
    version = Path(file).stat().st_mtime
    return ComposedNetwork(name, file, 1.0, 1.0, unet, clip, in_prompt=False, version=version)


def strengths_of(params: Any) -> tuple[float, float]:
    """(te, unet) of a tag, as ``ExtraNetworkLora.activate`` reads them (extra_networks_lora.py)."""
    positional, named = params.positional, params.named
    te = float(named.get("te", positional[1] if len(positional) > 1 else 1.0))
    return te, float(named.get("unet", positional[2] if len(positional) > 2 else te))


def unet_without(backend: Backend, unet: Any, networks: Sequence[ComposedNetwork]) -> Any:
    """A clone of a UNet patcher that lacks these networks of the prompt; kept ones stay."""
    return backend.put_patches(unet.clone(), _without(backend.patches_in(unet), networks))


def take_out_again(backend: Backend, unet: Any, networks: Sequence[ComposedNetwork]) -> None:
    """Where an extension has loaded its own clone with all networks, take the composed ones out again.

    Forge's Fooocus inpaint does so at the first evaluation, and where its part of the steps ends.
    ``unet``: from `unet_without`; gets the other clone's patches.
    """
    other = _loaded_clone(backend, unet)
    if other is not None:
        backend.load_again(backend.put_patches(unet, _without(backend.patches_in(other), networks)))


def unet_with_all(backend: Backend, unet: Any, left_out: Sequence[ComposedNetwork]) -> Any:
    """A clone of a UNet patcher with all networks of the prompt again, but for those left out."""
    of_prompt = _without(backend.patches_in(webui.objects_with_networks().unet), left_out)
    # Extensions may have added more.
    return backend.put_patches(unet.clone(), {**of_prompt, **backend.patches_in(unet)})


@contextmanager
def text_encoders(
    backend: Backend, networks: Sequence[ComposedNetwork], acting: Sequence[ComposedNetwork]
) -> Iterator[None]:
    """While this lasts, prompts are encoded with only the kept networks and ``acting``."""
    objects = webui.objects()
    before = objects.clip
    objects.clip = clip_of(backend, networks, acting)
    try:
        yield
    finally:
        objects.clip = before


def clip_of(
    backend: Backend, networks: Sequence[ComposedNetwork], acting: Sequence[ComposedNetwork] = ()
) -> Any:
    """A clone of the text encoders with the kept networks and those of ``networks`` that are ``acting``."""
    clip = webui.objects_with_networks().clip.clone()
    gone = {one.forge_clip_key for one in networks}
    patches = {key: value for key, value in backend.patches_in(clip.patcher).items() if key not in gone}
    patches.update({one.clip_key: one.clip_patches for one in acting if one.clip_patches})
    backend.put_patches(clip.patcher, patches)
    return clip


def give_text_encoders_back(backend: Backend) -> None:
    """Everything is encoded: put Forge's own patcher back, and let it count as loaded where a clone does.

    Memory management forgets a loaded patcher that nothing refers to, and leaves its weights where they are
    (backend/memory_management.py, free_memory).
    """
    clip = webui.objects_with_networks().clip
    webui.objects().clip = clip
    if _loaded_clone(backend, clip.patcher) is not None:
        backend.load(clip.patcher)


def kept_clip_keys(backend: Backend, networks: Sequence[ComposedNetwork]) -> tuple[PatchKey, ...]:
    """What stays merged in the text encoders."""
    return tuple(backend.patches_in(clip_of(backend, networks).patcher))


def _loaded_clone(backend: Backend, patcher: Any) -> Any | None:
    """A clone of ``patcher`` that counts as loaded in its place, so that weights have the clone's patches."""
    return next((one for one in backend.loaded() if one is not patcher and patcher.is_clone(one)), None)


def _strength(patches: Mapping[PatchKey, Patches], file: str) -> float:
    return next((key[1] for key in patches if key[0] == file), 0.0)


def _without(
    patches: Mapping[PatchKey, Patches], networks: Sequence[ComposedNetwork]
) -> dict[PatchKey, Patches]:
    gone = {one.forge_unet_key for one in networks}
    return {key: value for key, value in patches.items() if key not in gone}


def _keys(patches: Mapping[PatchKey, Patches], wanted: Sequence[tuple[str, float]]) -> list[PatchKey | None]:
    """The key of each (file, strength): by both, otherwise by the file alone, in the order of the patches."""
    left = list(patches)

    def taken(fits: Callable[[PatchKey], bool]) -> PatchKey | None:
        key = next(filter(fits, left), None)
        if key is not None:
            left.remove(key)
        return key

    exact = [taken(lambda key, one=one: key[:2] == one) for one in wanted]  # type: ignore[misc]
    return [
        key if key is not None else taken(lambda key, file=file: key[0] == file)  # type: ignore[misc]
        for key, (file, _) in zip(exact, wanted, strict=True)
    ]
