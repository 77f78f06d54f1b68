"""Which networks take part: those in the prompt's tags, and the pool from the WebUI's own list and loader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from loratorio_ext.hosts.webuis.adapter import ExtraNetworkData, LoadedNetwork
from loratorio_ext.networks.arguments import OwnArguments, own_arguments
from loratorio_ext.networks.files import TriggerReader
from loratorio_ext.networks.pool import choose_pool, pool_by_words
from loratorio_ext.networks.prompt import KINDS
from loratorio_ext.settings import Settings

if TYPE_CHECKING:
    from loratorio_ext.hosts.webuis.webui import WebuiServices

# A prompt may name thousands of networks that are not there.
_MOST_NAMES = 10

OneNetwork = TypeVar("OneNetwork")

# File, time of its last change, model in which its layers were found.
_Version = tuple[str, float, Hashable]


def tags_of_networks(data: ExtraNetworkData) -> Iterator[Any]:
    """The ``ExtraNetworkParams`` of all networks of the prompt (modules/extra_networks.py)."""
    for kind in KINDS:
        yield from (params for params in data.get(kind, ()) if params.positional)


def own_arguments_of(data: ExtraNetworkData) -> tuple[dict[str, OwnArguments], list[str]]:
    """(what the tag of each network of the prompt says to us, one sentence for each argument that is wrong).

    Of several tags of one network the last counts, but one that keeps it from being composed goes first.
    """
    found: dict[str, OwnArguments] = {}
    told: list[str] = []
    for params in tags_of_networks(data):
        name = params.positional[0]
        own, problems = own_arguments(params.named)
        if name not in found or found[name].composed:
            found[name] = own
        told += [f"network {name[:80]!r}: {problem}" for problem in problems]
    return found, told


def endless_strength(data: ExtraNetworkData) -> str | None:
    """A sentence about the first strength that is infinite or NaN, which a WebUI takes, or None."""
    for params in tags_of_networks(data):
        given = (*params.positional[1:3], *(params.named.get(name, "") for name in ("te", "unet")))
        for text in given:
            try:
                finite = isfinite(float(text))
            except ValueError:
                continue
            if not finite:
                name = params.positional[0][:80]
                return f"strength {text[:20]!r} of {name!r} is not finite; give a number such as 1"
    return None


def missing_networks(data: ExtraNetworkData, loaded: Sequence[LoadedNetwork]) -> list[str]:
    """A few sentences about tags for which the WebUI has loaded nothing (unknown or broken networks)."""
    known = {one.name for one in loaded}
    names = dict.fromkeys(params.positional[0] for params in tags_of_networks(data))
    missing = [name for name in names if name not in known]
    said = [f"the WebUI has not loaded {name[:80]!r}, so it takes no part" for name in missing[:_MOST_NAMES]]
    more = len(missing) - len(said)
    return [*said, f"nor has it loaded {more} more networks of the prompt"] if more else said


class Pool(Generic[OneNetwork]):
    """Reads the networks of a pool, and keeps them for later passes and pictures.

    The WebUI's own memory drops networks that no tag names.
    """

    def __init__(
        self, webui: WebuiServices, read: Callable[[str, str], OneNetwork], reader: TriggerReader
    ) -> None:
        """``read(name, file)`` gives a network at strength 1; ``reader`` knows trigger words."""
        self._webui = webui
        self._triggers = reader
        self._read_file = read
        self._read: Mapping[_Version, OneNetwork] = {}

    def networks(
        self, settings: Settings, text: str, taken: Collection[str]
    ) -> tuple[list[OneNetwork], list[str]]:
        """(networks of the pool, one sentence for each that could not be found or read).

        Args:
            settings: of the generation.
            text: its prompts, without tags.
            taken: files of the networks that the prompt names.
        """
        webui, pool = self._webui, settings.pool
        files, problems = files_of_pool(pool, webui.available_files(), webui.network_folder(), taken)
        if settings.pool_by == "words":
            asked = pool_by_words(
                list(files), text, settings.top_k, lambda name: self._triggers.of(files[name]).meant
            )
            files = {name: files[name] for name in asked}
        read: dict[_Version, OneNetwork] = {}
        for name, file in files.items():
            try:
                version = (file, Path(file).stat().st_mtime, webui.model_identity())
                read[version] = self._read.get(version) or self._read_file(name, file)
            except Exception as error:  # noqa: BLE001, PERF203 - a loader raises what it likes on a bad file
                problems.append(f"network {name!r} of the pool cannot be read: {error}")
        self._read = read
        return list(read.values()), problems


def files_of_pool(
    pool: str, files: Mapping[str, str], folder: str, taken: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """The files that take part besides those of the prompt.

    Args:
        pool: names, aliases, or patterns of paths below the folder, separated by commas.
        files: name or alias → file, as the WebUI lists them.
        folder: where the WebUI looks for networks.
        taken: files of networks that the prompt names, composed or kept merged.

    Returns:
        (file stem → file, every file once; one sentence for each part that matches no network).
    """
    names, unknown = choose_pool(pool, {name: path_below(file, folder) for name, file in files.items()})
    seen = {Path(file) for file in taken}
    found: dict[str, str] = {}
    for file in (Path(files[name]) for name in names):
        if file not in seen:
            seen.add(file)
            found[file.stem] = str(file)
    return found, [
        f"{part!r} in the pool is no network; the Lora tab shows which there are" for part in unknown
    ]


def path_below(file: str, folder: str) -> str:
    """Path below the folder without suffix, with ``/``; the file's name where it is elsewhere."""
    path = Path(file)
    try:
        path = path.relative_to(folder)
    except ValueError:  # in a folder set by another of the WebUI's options
        path = Path(path.name)
    return path.with_suffix("").as_posix()
