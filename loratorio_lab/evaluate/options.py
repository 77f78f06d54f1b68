"""The options of `evaluate`, and the defaults that differ between its suites. Imports no torch."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from loratorio_ext.cli.console import InputError
from loratorio_ext.cli.option_types import (
    Commands,
    Options,
    Parser,
    add_common,
    add_device,
    add_number,
    add_settings,
    add_text,
    add_whole,
    whole,
)
from loratorio_lab.evaluate.arms import ARM_NAMES
from loratorio_lab.evaluate.composlora.styles import NETWORKS, SAMPLER, STRENGTH, STYLES

EMBEDDED: Final = "embedded"
COMPOSLORA: Final = "composlora"
POOL: Final = "pool"

_EMBEDDED_DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(
    {"networks": (1, 2, 3, 4), "pictures": 128, "steps": 20, "cfg": 4.0, "batch": 8}
)
_POOL_DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        **_EMBEDDED_DEFAULTS,
        "networks": (2, 3, 4),
        "pictures": 32,
        "pool_sizes": (8, 16, 32, 64),
        "keep": (1, 2, 3, 4),
        "rescans": (1,),
    }
)
# None of `pictures` is every combination once.
_COMPOSLORA_DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(
    {"networks": NETWORKS, "pictures": None, "batch": 1, "sampler": SAMPLER, "strength": STRENGTH}
)


def add_evaluate(commands: Commands) -> None:
    """The command and its options."""
    parser = commands.add_parser(
        "evaluate",
        help="measure which way of combining networks draws what was asked for",
        description="Draw many prompts with one to four networks by every method, with the embedded\n"
        "model; let the judge say what each picture holds; print a table with standard errors\n"
        "(clustered by combination of networks). Every batch is kept when it is done: after an\n"
        "interrupt or a kill the same command goes on.",
    )
    add_text(parser, "--out", "FOLDER", "default outputs/evaluate", default="outputs/evaluate")
    parser.add_argument(
        "--suite",
        choices=(EMBEDDED, POOL, COMPOSLORA),
        default=EMBEDDED,
        help="what is drawn: the embedded model's pictures with networks named by tags, or chosen from a "
        "pool, or ComposLoRA's with models and networks of your own (default embedded)",
    )
    text = "networks in a picture, one or more numbers (default 1 2 3 4; composlora 2 3 4 5)"
    add_whole(parser, "--networks", 1, 5, text, nargs="+")
    text = (
        "pictures for each method and number of networks, in each world (default 128; composlora: each "
        "combination once)"
    )
    add_whole(parser, "--pictures", 1, 100_000, text)
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=ARM_NAMES,
        default=list(ARM_NAMES[:5]),
        metavar="NAME",
        help=f"one or more of: {', '.join(ARM_NAMES)} (default: the first five; the others are controls)",
    )
    text = (
        "also with other values of one setting (temperature=0.5,1,2), of cfg, steps or switch-every; may be "
        "given several times"
    )
    add_text(parser, "--sweep", "NAME=A,B,...", text, action="append", default=[])
    parser.add_argument(
        "--split",
        choices=("development", "held-out"),
        default="held-out",
        help="choose settings on development, report on held-out (default held-out)",
    )
    _add_world(parser)
    add_whole(
        parser,
        "--switch-every",
        1,
        1000,
        "steps in a row that each network gets by Switch (default 5)",
        default=5,
    )
    text = "steps of the sampler (default 20; composlora: the testbed's 200 for anime, 100 for reality)"
    add_whole(parser, "--steps", 1, 200, text)
    text = f"as for `generate` (default: the model's own; composlora: {SAMPLER})"
    add_text(parser, "--sampler", "NAME", text)
    text = "guidance scale (default 4; composlora: the testbed's 10 for anime, 7 for reality)"
    add_number(parser, "--cfg", 1, 1000, text)
    text = "pictures of one combination drawn at once (default 8; composlora 1)"
    add_whole(parser, "--batch", 1, 256, text)
    text = (
        "processes that draw, above 1 by Ray (`pip install 'loratorio[ray]'`): on this machine, for example "
        "one for each graphics card, or on the cluster that RAY_ADDRESS names (default 1)"
    )
    add_whole(parser, "--workers", 1, 1024, text, default=1)
    _add_pool(
        parser.add_argument_group(
            "the suite pool",
            "Dynamic selection on the embedded world: the prompt holds trigger words only, the networks\n"
            "are chosen from a pool, which is filled up with networks that nobody asks for.",
        )
    )
    _add_composlora(
        parser.add_argument_group(
            "the suite composlora",
            "Draws the combinations of ComposLoRA (arXiv 2402.16843) with your copies of its base model,\n"
            "its networks and its lists; scores them with CLIPScore where you have the model.",
        )
    )
    add_settings(parser)
    add_common(parser)


def _add_world(options: Options) -> None:
    text = "a world that train-demo made; may be given several times (default: the embedded one)"
    add_text(options, "--world", "FOLDER", text, action="append")


def _add_pool(options: Options) -> None:
    text = "networks in the pool, one or more numbers (default 8 16 32 64)"
    add_whole(options, "--pool-sizes", 8, 256, text, nargs="+")
    text = "networks kept, one or more numbers (default 1 2 3 4)"
    options.add_argument("--keep", type=partial(whole, 1, 64), nargs="+", metavar="K", help=text)
    text = "every how many steps the pool is looked at again, one or more numbers (default 1)"
    add_whole(options, "--rescans", 1, 1000, text, nargs="+")


def _add_composlora(options: Options) -> None:
    styles = STYLES.values()
    options.add_argument("--style", choices=tuple(STYLES), help="half of the testbed (default anime)")
    bases = ", ".join(f"{style.base} for {style.name}" for style in styles)
    text = f"the base model, a diffusers folder or a .safetensors file: {bases}"
    add_text(options, "--base", "PATH", text)
    text = "needed for a base in a single file; as for `generate`"
    add_text(options, "--config", "FOLDER", text)
    text = (
        "an autoencoder instead of the base's own, a diffusers folder; the testbed's reality has "
        f"{STYLES['reality'].autoencoder}"
    )
    add_text(options, "--vae", "FOLDER", text)
    text = "the testbed's networks: the archive's lora/, with anime/character_1.safetensors and so on"
    add_text(options, "--lora-dir", "FOLDER", text)
    text = (
        "a copy of the testbed's repository, for its lists and prompts (default: looked for in --lora-dir "
        "and the two folders above it)"
    )
    add_text(options, "--testbed", "FOLDER", text)
    text = (
        "clip-vit-base-patch16, a folder or a name in the hub's cache; without it pictures are drawn and not "
        "scored, and a later run with it scores them"
    )
    add_text(options, "--clip", "PATH", text)
    add_text(options, "--prefix", "TEXT", "what prompts begin with (default: the testbed's)")
    add_text(options, "--negative", "TEXT", "what the pictures should not show (default: the testbed's)")
    add_number(options, "--strength", -100, 100, f"of every network (default {STRENGTH:g})")
    sizes = ", ".join(f"{style.width} × {style.height} for {style.name}" for style in styles)
    add_whole(options, "--width", 8, 8192, f"pixels (default: {sizes})")
    add_whole(options, "--height", 8, 8192, "pixels")
    text = "default: float16 on cuda, else float32; the testbed's own pictures are in float32"
    add_device(options, text)


def with_defaults(arguments: Namespace) -> Namespace:
    """The arguments with the suite's defaults for what was not given.

    Raises:
        InputError: an option of another suite was given.
    """
    suite = arguments.suite
    for add, suites in (
        (_add_pool, (POOL,)),
        (_add_composlora, (COMPOSLORA,)),
        (_add_world, (EMBEDDED, POOL)),
    ):
        for name in _names(add):
            if suite not in suites and getattr(arguments, name) is not None:
                raise InputError(
                    f"--{name.replace('_', '-')} is no option of the suite {suite}; "
                    f"give --suite {suites[0]}, or leave it out"
                )
    by_suite = {EMBEDDED: _EMBEDDED_DEFAULTS, POOL: _POOL_DEFAULTS, COMPOSLORA: _COMPOSLORA_DEFAULTS}
    defaults = dict(by_suite[suite])
    if suite == COMPOSLORA:
        style = STYLES[arguments.style or "anime"]
        defaults |= {name: getattr(style, name) for name in ("steps", "cfg", "width", "height")}
        defaults["style"] = style.name
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    return Namespace(**{**vars(arguments), **defaults, **given})


def _names(add: Callable[[Options], None]) -> list[str]:
    """The names that these options have in a namespace."""
    parser = Parser(add_help=False)
    add(parser)
    return list(vars(parser.parse_args([])))
