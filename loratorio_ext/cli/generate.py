"""Draw pictures from a prompt with tags."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loratorio_ext.cli.console import OK, Console, InputError, Interrupted, Work
from loratorio_ext.cli.option_types import settings_from
from loratorio_ext.cli.places import EMBEDDED, USUAL, configuration, model_and_networks
from loratorio_ext.cli.writing import (
    free_name,
    picture_parameters,
    prepare_file,
    prepare_folder,
    write_picture,
    write_text,
)
from loratorio_ext.networks.prompt import parse_prompt

if TYPE_CHECKING:
    from loratorio_ext.cli.tools import Tools
    from loratorio_ext.hosts.diffusers_host import Request
    from loratorio_ext.settings import Settings

LARGEST_SEED: Final = 2**63 - 1
# Names that are meant as a picture and not as a folder.
OTHER_PICTURES: Final = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".jxl", ".tif", ".tiff", ".webp"}
)


def run(arguments: Namespace, tools: Tools, console: Console, work: Work) -> int:
    """`loratorio generate`: one picture for each seed, its path on stdout."""
    settings = settings_from(arguments)
    last = arguments.seed + arguments.batch * arguments.count - 1
    if last > LARGEST_SEED:
        raise InputError(f"--seed with all its pictures goes up to {last}; the largest is {LARGEST_SEED}.")
    _check_prompt(arguments.prompt)
    model, networks, embedded = model_and_networks(arguments, tools.find_demo_data)
    tags = parse_prompt(arguments.prompt).tags
    if tags and networks is None:
        raise InputError(
            f"The prompt names the network {tags[0].name!r}: give --lora-dir, the folder that holds it."
        )
    target = _Target(Path(arguments.out), arguments.batch * arguments.count)
    report = None if arguments.report is None else prepare_file(Path(arguments.report))
    host = tools.open_host(
        model,
        arguments.device,
        arguments.dtype,
        offline=embedded or arguments.offline,
        config=configuration(arguments),
    )

    kept: list[Path] = []
    result = None
    try:
        for seeds in _batches(arguments):
            request = _request(arguments, settings, networks, seeds, EMBEDDED if embedded else USUAL)
            with console.progress(_label(seeds)) as on_step:
                result = host.generate(request, work.watch(on_step))
            for warning in result.report.warnings:
                console.warn(warning)
            for seed, image in zip(seeds, result.images, strict=True):
                path = target.path(seed, request.method)
                write_picture(path, image, picture_parameters(request, result, model, seed, image.size))
                kept.append(path)
                console.result(str(path))
        if report is not None and result is not None:
            write_text(report, result.report.to_json() + "\n")
    except KeyboardInterrupt:
        finished = f"kept {len(kept)} finished pictures in {target.folder}" if kept else "nothing was kept"
        raise Interrupted(f"{finished}; the batch that was being drawn is lost") from None
    return OK


class _Target:
    """Where pictures go: the one file that was named, or names of our own in a folder."""

    def __init__(self, out: Path, pictures: int) -> None:
        self._file = out if out.suffix.lower() == ".png" else None
        if self._file is not None and pictures > 1:
            raise InputError(f"--out {out} is one file for {pictures} pictures; name a folder.")
        if out.suffix.lower() in OTHER_PICTURES and not out.is_dir():
            raise InputError(f"--out {out}: pictures are written as .png; name such a file, or a folder.")
        self.folder = (prepare_file(out).parent) if self._file is not None else prepare_folder(out)

    def path(self, seed: int, method: str) -> Path:
        return self._file or free_name(self.folder / f"{seed}-{method}.png")


def _batches(arguments: Namespace) -> Iterator[tuple[int, ...]]:
    for number in range(arguments.count):
        first = arguments.seed + number * arguments.batch
        yield tuple(range(first, first + arguments.batch))


def _label(seeds: tuple[int, ...]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]}-{seeds[-1]}"


def _check_prompt(prompt: str) -> None:
    ignored = parse_prompt(prompt).ignored
    if ignored:  # a picture without a network that was asked for would pass as one with it
        raise InputError(f"The prompt cannot be used: {ignored[0]}.")


def _request(
    arguments: Namespace,
    settings: Settings,
    networks: Path | None,
    seeds: tuple[int, ...],
    defaults: tuple[int, float],
) -> Request:
    from loratorio_ext.hosts.diffusers_host import Request

    return Request(
        prompts=[arguments.prompt],
        negative_prompt=arguments.negative,
        steps=defaults[0] if arguments.steps is None else arguments.steps,
        cfg=defaults[1] if arguments.cfg is None else arguments.cfg,
        seeds=seeds,
        width=arguments.width,
        height=arguments.height,
        sampler=arguments.sampler,
        settings=settings,
        method=arguments.method,
        switch_every=arguments.switch_every,
        network_dir=networks,
    )
