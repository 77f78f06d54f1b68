from __future__ import annotations

from pathlib import Path


def save_image(
    image,
    path,
    basename,
    seed=None,
    prompt=None,
    extension="png",
    info=None,
    short_filename=False,
    no_prompt=False,
    grid=False,
    pnginfo_section_name="parameters",
    p=None,
    existing_info=None,
    forced_filename=None,
    suffix="",
    save_to_dirs=None,
):
    """The name holds the picture's number in the run and its seed."""
    number = p.iteration * p.batch_size + p.batch_index
    file = Path(path) / f"{number}-{seed}{suffix}.{extension}"
    image.save(file, pnginfo=None)
    image.already_saved_as = str(file)
    return str(file), None


def image_grid(imgs, batch_size=1, rows=None):
    return imgs[0].copy()
