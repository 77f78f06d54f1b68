"""Which of the WebUI's network files a pool means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from loratorio_ext.networks.pool import choose_pool


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
