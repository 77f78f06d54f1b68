"""Networks of the pool, by the WebUI's own list and loader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from loratorio_ext.networks.prompt import choose_pool

OneNetwork = TypeVar("OneNetwork")

# File, time of its last change, model that its layers were found in.
_Version = tuple[str, float, tuple[int, str]]


class Files(Protocol):
    """What a pool asks of a WebUI; the adapters' ``webui`` modules."""

    def available_files(self) -> dict[str, str]:
        """Name or alias → file."""

    def network_folder(self) -> str:
        """Where the WebUI looks for networks."""

    def model_identity(self) -> tuple[int, str]:
        """Changes when another checkpoint is loaded."""


class Pool(Generic[OneNetwork]):
    """Reads the networks of a pool, and keeps them for the passes and pictures to come.

    The WebUI's own memory drops networks that no tag names.
    """

    def __init__(self, webui: Files, read: Callable[[str, str], OneNetwork]) -> None:
        """``read(name, file)`` gives a network at strength 1; nothing is read yet."""
        self._webui = webui
        self._read_file = read
        self._read: Mapping[_Version, OneNetwork] = {}

    def networks(self, pool: str, taken: Collection[str]) -> tuple[list[OneNetwork], list[str]]:
        """(networks of the pool, one sentence for each that could not be found or read).

        ``taken``: files of the networks that the prompt names.
        """
        webui = self._webui
        files, problems = files_of_pool(pool, webui.available_files(), webui.network_folder(), taken)
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
    """The files that take part beside those of the prompt.

    Args:
        pool: names, aliases, or patterns of paths below the folder, parted by commas.
        files: name or alias → file, as the WebUI lists them.
        folder: where the WebUI looks for networks.
        taken: files of networks that the prompt names, composed or kept merged.

    Returns:
        (file stem → file, every file once; one sentence for each part that means no network).
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
    """Path below the folder without suffix, with ``/``; the file's name where it lies elsewhere."""
    path = Path(file)
    try:
        path = path.relative_to(folder)
    except ValueError:  # a folder of another option of the WebUI
        path = Path(path.name)
    return path.with_suffix("").as_posix()
