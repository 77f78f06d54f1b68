"""The networks of a folder, found by the names that tags give them."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from loratorio_ext.networks.files.container import PICKLES, NetworkFileError, read_header
from loratorio_ext.networks.problems import Problem, shown
from loratorio_ext.networks.prompt import MAX_NAME, Tag, name_problem

SUFFIX = ".safetensors"

_Labels = Sequence[tuple[str, Path]]


class UnknownNetworkError(ValueError):
    """No network, or more than one, has this name.

    near: names that exist and look alike, best first, or the names that tell apart the files that have it.
    """

    def __init__(self, name: str, reason: str, near: tuple[str, ...] = ()) -> None:
        super().__init__(f"network {shown(name)}: {reason}")
        self.name = name
        self.near = near


class NetworkFolder(dict[str, str]):
    """The networks of a folder and of those below it, as one walk through it found them.

    Name of every network → its path below the folder, without suffix, with "/". Names are file stems, with
    the subfolder where stems repeat; sorted. `find` and `locate` take more names than these. Files that only
    a link puts below the folder are left out. A folder that does not exist has no networks.
    """

    def __init__(self, folder: str | Path) -> None:
        """Walk through the folder; no file is opened, and one that comes later is not seen."""
        self.folder = Path(folder)
        self._root = self.folder.resolve()
        self._links_out = 0
        files = sorted(self._walk())
        self._files = [path for path in files if path.suffix.lower() == SUFFIX]
        self._pickles = [path for path in files if path.suffix.lower() in PICKLES]
        self._by_stem = [(path.stem, path) for path in self._files]
        self._by_path = [(self._below(path), path) for path in self._files]
        stems = Counter(path.stem.casefold() for path in self._files)
        is_alone = [stems[path.stem.casefold()] == 1 for path in self._files]
        named = zip(is_alone, self._by_stem, self._by_path, strict=True)
        self._names = dict(sorted(by_stem if alone else by_path for alone, by_stem, by_path in named))
        super().__init__((name, self._below(path)) for name, path in self._names.items())

    def find(self, name: str) -> Path:
        """The file of a network.

        name: one of this mapping, a file's stem ("ink"), the path below the folder without suffix
        ("style/ink"), or the name that the file gives itself (ss_output_name); the first of these that
        answers. The same case goes before any case; the file's suffix may follow.

        Raises UnknownNetworkError where nothing or more than one file answers, or there is no folder;
        NetworkFileError where only a pickle has the name.
        """
        problem = name_problem(name)
        if problem is not None:
            raise UnknownNetworkError(name, str(problem))
        if not self.folder.is_dir():
            raise UnknownNetworkError(name, f"there is no folder {shown(str(self.folder), 200)} to look in")
        found = self._look_up(name)
        if found is not None:
            return found
        pickle = self._one_of([(path.stem, path) for path in self._pickles], _plain(name))
        if pickle is not None:
            reason = "only a pickle has this name, and pickles are refused; take the .safetensors version"
            raise NetworkFileError(pickle, reason)
        raise self._unknown(name)

    def locate(self, name: str) -> str | None:
        """The path below the folder of the network that `find` gives; None where it raises."""
        try:
            path = self._look_up(name) if name_problem(name) is None else None
        except UnknownNetworkError:
            return None
        return None if path is None else self._below(path)

    def one_per_file(self, tags: Sequence[Tag]) -> tuple[list[Tag], tuple[Problem, ...]]:
        """(the tags, one for each file; a problem for each tag that another one replaces).

        Two names of one file are one network, just as the same name twice is (`parse_prompt`): it acts once,
        in the place of the first tag, with the strengths of the last. Tags that find no file stay.
        """
        kept: dict[str | Tag, Tag] = {}
        problems = []
        for tag in tags:
            file = self.locate(tag.name) or tag
            if file in kept:
                names = {"first": shown(kept[file].name, 40), "second": shown(tag.name, 40)}
                told = Problem("{first} and {second} are the same network; the last tag counts", names)
                problems.append(told)
            kept[file] = tag
        return list(kept.values()), tuple(problems)

    def _walk(self) -> Iterator[Path]:
        """Networks and pickles below the folder; links that lead out of it are counted and left out."""
        for directory, folders, files in os.walk(self._root):
            for name in (*folders, *files):
                path = Path(directory, name)
                suffix = path.suffix.lower()
                # realpath, because Path.resolve raises on a link to itself before Python 3.13.
                if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(self._root):
                    self._links_out += path.exists() and (name in folders or suffix == SUFFIX)
                elif (suffix == SUFFIX or suffix in PICKLES) and path.is_file():
                    yield path

    def _below(self, path: Path) -> str:
        """The name that tells a file from every other: path below the folder without suffix, with "/"."""
        return path.relative_to(self._root).with_suffix("").as_posix()

    @cached_property
    def _by_alias(self) -> _Labels:
        """Files by the name that they give themselves (kohya's ss_output_name); reads every header once."""
        aliases = ((_alias(path), path) for path in self._files)
        return [(alias, path) for alias, path in aliases if name_problem(alias) is None]

    def _look_up(self, name: str) -> Path | None:
        """As `find`; None where no network has the name."""
        # As it stands first: a file may be called "v1.safetensors.safetensors".
        for wanted in dict.fromkeys((name.replace("\\", "/"), _plain(name))):
            found = self._names.get(wanted)
            for labels in (self._by_stem, self._by_path, self._by_alias):
                found = found or self._one_of(labels, wanted)
            if found is not None:
                return found
        return None

    def _one_of(self, labels: _Labels, name: str) -> Path | None:
        """The one file of this label, else in any case, else with blanks at its ends, which tags lose.

        UnknownNetworkError for several.
        """
        paths = [path for label, path in labels if label == name]
        paths = paths or [path for label, path in labels if label.casefold() == name.casefold()]
        paths = paths or [
            path for label, path in labels if label.strip().casefold() == name.strip().casefold()
        ]
        if len(paths) <= 1:
            return paths[0] if paths else None
        names = tuple(map(self._below, paths))
        listed = ", ".join(shown(each) for each in names[:5])
        raise UnknownNetworkError(name, f"{len(paths)} files answer to it; write one of {listed}", near=names)

    def _unknown(self, name: str) -> UnknownNetworkError:
        labels = (*self._by_alias, *self._by_path, *self._by_stem)
        known = {label.casefold(): label for label, _ in labels if len(label) <= MAX_NAME}
        wanted = _plain(name).strip("\"' ").casefold()
        # diffusers and PEFT name every file alike and put it into a folder that has the network's name.
        below = sorted(each for each, path in self.items() if wanted in path.casefold().split("/")[:-1])
        close = difflib.get_close_matches(wanted, list(known), n=3, cutoff=0.6)
        near = tuple(dict.fromkeys((*below[:3], *(known[label] for label in close))))
        listed = f"did you mean {', '.join(map(shown, near))}?"
        listed += " Names are written without quotes." if name.strip()[:1] in ("'", '"') else ""
        hint = listed if near else f"{len(self._files)} other networks are there"
        if self._links_out:
            hint += f"; links that lead out of the folder are skipped ({self._links_out} here): "
            hint += "put the files themselves there"
        reason = f"no file in {shown(str(self.folder), 200)} has this name; {hint}"
        return UnknownNetworkError(name, reason, near)


def _plain(name: str) -> str:
    """A name with "/" and without the file's suffix."""
    wanted = name.replace("\\", "/")
    return wanted[: -len(SUFFIX)] if wanted.lower().endswith(SUFFIX) else wanted


def _alias(path: Path) -> str:
    """The name that the file gives itself; empty if it has none or cannot be read."""
    try:
        return read_header(path).metadata.get("ss_output_name", "")
    except NetworkFileError:
        return ""
