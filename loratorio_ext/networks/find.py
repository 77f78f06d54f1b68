"""Finding a network's file by the name that a tag gives it."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from loratorio_ext.networks.container import PICKLES, read_header
from loratorio_ext.networks.errors import NetworkFileError, UnknownNetworkError, shown
from loratorio_ext.networks.names import MAX_NAME, name_problem

SUFFIX = ".safetensors"


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files below `folder` that really lie below it, sorted; links that lead out of it are left out."""
    root = folder.resolve()
    found: list[Path] = []
    for directory, folders, files in os.walk(root):
        folders.sort()
        for file in files:
            path = Path(directory, file)
            if path.suffix.lower() in suffixes and path.is_file() and path.resolve().is_relative_to(root):
                found.append(path)
    return sorted(found)


def _outward_links(folder: Path) -> int:
    """How many links below `folder`, to networks or to folders, lead out of it."""
    root = folder.resolve()
    count = 0
    for directory, folders, files in os.walk(root):
        for name in (*folders, *(file for file in files if file.lower().endswith(SUFFIX))):
            path = Path(directory, name)
            # realpath, because Path.resolve raises on a link to itself before Python 3.13.
            if path.is_symlink() and path.exists():
                count += not Path(os.path.realpath(path)).is_relative_to(root)
    return count


def _relative(path: Path, folder: Path) -> str:
    """The name that tells a file from every other: path below the folder without suffix, with "/"."""
    return path.relative_to(folder.resolve()).with_suffix("").as_posix()


def _alias(path: Path) -> str | None:
    """The name that the file gives itself (kohya's ss_output_name); None if it has none or cannot be read."""
    try:
        alias = read_header(path).metadata.get("ss_output_name")
    except NetworkFileError:
        return None
    return alias if alias is not None and name_problem(alias) is None else None


def _choose(name: str, labelled: Sequence[tuple[str, Path]], folder: Path) -> Path | None:
    """The one file whose label is `name`, in the same case or else in any; None if there is none.

    Raises UnknownNetworkError if there are several.
    """
    exact = {path for label, path in labelled if label == name}
    any_case = {path for label, path in labelled if label.casefold() == name.casefold()}
    for paths in (sorted(exact), sorted(any_case)):
        if len(paths) == 1:
            return paths[0]
        if paths:
            names = tuple(_relative(path, folder) for path in paths)
            listed = ", ".join(shown(each) for each in names[:5])
            raise UnknownNetworkError(
                name, f"{len(paths)} files answer to it; write one of {listed}", near=names
            )
    return None


def network_paths(folder: str | Path) -> dict[str, str]:
    """Name → path below the folder without suffix, with "/", of all networks in a folder and below it.

    Names are file stems, with the subfolder where stems repeat. Sorted by name. A folder that does not exist
    has none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return {}
    paths = _files(folder, (SUFFIX,))
    stems = Counter(path.stem.casefold() for path in paths)
    located = {path: _relative(path, folder) for path in paths}
    return dict(
        sorted(
            (path.stem if stems[path.stem.casefold()] == 1 else below, below)
            for path, below in located.items()
        )
    )


def network_names(folder: str | Path) -> tuple[str, ...]:
    """Names of all networks in a folder and below it, as in :func:`network_paths`."""
    return tuple(network_paths(folder))


def find_network(name: str, folder: str | Path) -> Path:
    """The file of a network.

    name: a file's stem ("ink"), the path below the folder without suffix ("style/ink"), or the name that the
    file gives itself (ss_output_name); the first of these that answers. The same case goes before any case.
    folder: is searched with its subfolders; nothing outside it is ever returned, also not through links.

    Raises UnknownNetworkError for a name that cannot be one, that nothing or more than one file answers to
    (with near matches), or a folder that does not exist; NetworkFileError where only a pickle has the name.
    """
    folder = Path(folder)
    problem = name_problem(name)
    if problem is not None:
        raise UnknownNetworkError(name, str(problem))
    if not folder.is_dir():
        raise UnknownNetworkError(name, f"there is no folder {shown(str(folder), 200)} to look in")
    wanted = name.replace("\\", "/")
    if wanted.lower().endswith(SUFFIX):
        wanted = wanted[: -len(SUFFIX)]
    paths = _files(folder, (SUFFIX,))
    labelled = [(path.stem, path) for path in paths]
    located = [(_relative(path, folder), path) for path in paths]
    found = _choose(wanted, labelled, folder) if "/" not in wanted else None
    found = found or _choose(wanted, located, folder)
    aliases = (
        [(alias, path) for path in paths if (alias := _alias(path)) is not None] if found is None else []
    )
    found = found or _choose(wanted, aliases, folder)
    if found is not None:
        return found

    pickles = [(path.stem, path) for path in _files(folder, PICKLES)]
    pickle = _choose(wanted, pickles, folder)
    if pickle is not None:
        raise NetworkFileError(
            pickle, "only a pickle has this name, and pickles are refused; take the .safetensors version"
        )
    known = {
        label.casefold(): label for label, _ in (*aliases, *located, *labelled) if len(label) <= MAX_NAME
    }
    close = difflib.get_close_matches(wanted.casefold(), list(known), n=3, cutoff=0.6)
    near = tuple(known[label] for label in close)
    hint = (
        f"did you mean {', '.join(shown(each) for each in near)}?"
        if near
        else f"{len(paths)} others are there"
    )
    links = _outward_links(folder)
    if links:
        hint += (
            f"; links that lead out of the folder are skipped ({links} here): put the files themselves there"
        )
    raise UnknownNetworkError(name, f"no file in {shown(str(folder), 200)} has this name; {hint}", near)
