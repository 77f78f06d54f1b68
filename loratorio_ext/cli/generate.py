"""Draw pictures from a prompt with tags."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Final

from loratorio_ext.cli.console import OK, Console, InputError, Interrupted, Work
from loratorio_ext.cli.option_types import LARGEST_SEED, settings_from
from loratorio_ext.cli.tools import Tools, choose_model
from loratorio_ext.cli.writing import (
    free_name,
    picture_parameters,
    prepare_file,
    prepare_folder,
    write_picture,
    write_text,
)
from loratorio_ext.networks.prompt import parse_prompt

# Names that are meant as a picture and not as a folder.
OTHER_PICTURES: Final = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".jxl", ".tif", ".tiff", ".webp"}
)


def run(arguments: Namespace, tools: Tools, console: Console, work: Work) -> int:
    """`loratorio generate`: one picture for each seed, its path on stdout."""
    settings = settings_from(arguments)
    all_seeds = range(arguments.seed, arguments.seed + arguments.batch * arguments.count)
    if all_seeds[-1] > LARGEST_SEED:
        raise InputError(
            f"--seed with all its pictures goes up to {all_seeds[-1]}; the largest is {LARGEST_SEED}."
        )
    prompt = parse_prompt(arguments.prompt)
    model = choose_model(arguments, tools)
    if prompt.tags and model.networks is None:
        name = prompt.tags[0].name
        raise InputError(f"The prompt names the network {name!r}: give --lora-dir, the folder that holds it.")
    folder, file = _target(arguments.out, len(all_seeds))
    report = None if arguments.report is None else prepare_file(arguments.report)
    host = model.open(arguments, tools)
    from loratorio_ext.hosts.diffusers_host import Request

    kept: list[Path] = []
    result = None
    try:
        for first in all_seeds[:: arguments.batch]:
            seeds = range(first, first + arguments.batch)
            request = Request(
                prompts=[arguments.prompt],
                negative_prompt=arguments.negative,
                steps=model.steps if arguments.steps is None else arguments.steps,
                cfg=model.cfg if arguments.cfg is None else arguments.cfg,
                seeds=tuple(seeds),
                width=arguments.width,
                height=arguments.height,
                sampler=arguments.sampler,
                settings=settings,
                method=arguments.method,
                switch_every=arguments.switch_every,
                network_dir=model.networks,
            )
            label = f"seed {first}" if len(seeds) == 1 else f"seeds {first}-{seeds[-1]}"
            with console.progress(label) as on_step:
                result = host.generate(request, work.watch(on_step))
            for warning in result.report.warnings:
                console.warn(warning)
            for seed, image in zip(seeds, result.images, strict=True):
                path = file or free_name(folder / f"{seed}-{request.method}.png")
                write_picture(path, image, picture_parameters(request, result, model.path, seed, image.size))
                kept.append(path)
                console.result(str(path))
        if report is not None and result is not None:
            write_text(report, result.report.to_json() + "\n")
    except KeyboardInterrupt:
        finished = f"kept {len(kept)} finished pictures in {folder}" if kept else "nothing was kept"
        raise Interrupted(f"{finished}; the batch that was being drawn is lost") from None
    return OK


def _target(out: Path, pictures: int) -> tuple[Path, Path | None]:
    """(the folder that pictures go to, the one file that was named, or None for names of our own)."""
    if out.suffix.lower() == ".png":
        if pictures > 1:
            raise InputError(f"--out {out} is one file for {pictures} pictures; name a folder.")
        return out.parent, prepare_file(out)
    if out.suffix.lower() in OTHER_PICTURES and not out.is_dir():
        raise InputError(f"--out {out}: pictures are written as .png; name such a file, or a folder.")
    return prepare_folder(out), None
