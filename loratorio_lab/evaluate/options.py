"""The options of `evaluate`, and the defaults that differ between its suites. Imports no torch."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from loratorio_ext.cli.console import InputError
from loratorio_ext.cli.option_types import Commands, add_common, add_settings, number, whole
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
_OF_POOL: Final = ("pool_sizes", "keep", "rescans")
# None of `pictures` is every combination once.
_COMPOSLORA_DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(
    {"networks": NETWORKS, "pictures": None, "batch": 1, "sampler": SAMPLER, "strength": STRENGTH}
)
_OF_COMPOSLORA: Final = (
    "style",
    "base",
    "config",
    "vae",
    "lora_dir",
    "testbed",
    "clip",
    "prefix",
    "negative",
    "strength",
    "sampler",
    "width",
    "height",
    "device",
    "dtype",
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
    parser.add_argument(
        "--out", default="outputs/evaluate", metavar="FOLDER", help="default outputs/evaluate"
    )
    parser.add_argument(
        "--suite",
        choices=(EMBEDDED, POOL, COMPOSLORA),
        default=EMBEDDED,
        help="what is drawn: the embedded model's pictures with networks named by tags, or chosen from a "
        "pool, or ComposLoRA's with models and networks of your own (default embedded)",
    )
    parser.add_argument(
        "--networks",
        type=whole(1, 5),
        nargs="+",
        metavar="N",
        help="networks in a picture, one or more numbers (default 1 2 3 4; composlora 2 3 4 5)",
    )
    parser.add_argument(
        "--pictures",
        type=whole(1, 100_000),
        metavar="N",
        help="for each method and number of networks, in each world (default 128; composlora: each "
        "combination once)",
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=ARM_NAMES,
        default=list(ARM_NAMES[:5]),
        metavar="NAME",
        help=f"one or more of: {', '.join(ARM_NAMES)} (default: the first five; the others are controls)",
    )
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=A,B,...",
        help="also with other values of one setting (temperature=0.5,1,2), of cfg, steps or switch-every; "
        "may be given several times",
    )
    parser.add_argument(
        "--split",
        choices=("development", "held-out"),
        default="held-out",
        help="choose settings on development, report on held-out (default held-out)",
    )
    parser.add_argument(
        "--world",
        action="append",
        metavar="FOLDER",
        help="a world that train-demo made; may be given several times (default: the embedded one)",
    )
    parser.add_argument(
        "--switch-every", type=whole(1, 1000), default=5, metavar="N", help="steps of a network (default 5)"
    )
    parser.add_argument(
        "--steps",
        type=whole(1, 200),
        metavar="N",
        help="steps of the sampler (default 20; composlora: the testbed's 200 for anime, 100 for reality)",
    )
    parser.add_argument(
        "--cfg",
        type=number(1, 1000),
        metavar="X",
        help="guidance scale (default 4; composlora: the testbed's 10 for anime, 7 for reality)",
    )
    parser.add_argument(
        "--batch",
        type=whole(1, 256),
        metavar="N",
        help="pictures of one combination drawn at once (default 8; composlora 1)",
    )
    parser.add_argument(
        "--workers",
        type=whole(1, 1024),
        default=1,
        metavar="N",
        help="processes that draw, above 1 by Ray (`pip install 'loratorio[ray]'`): on this machine, one for "
        "each graphics card say, or on the cluster that RAY_ADDRESS names (default 1)",
    )
    _add_pool(parser)
    _add_composlora(parser)
    add_settings(parser)
    add_common(parser)


def _add_composlora(parser: argparse.ArgumentParser) -> None:
    """The options of the suite composlora."""
    group = parser.add_argument_group(
        "the suite composlora",
        "Draws the combinations of ComposLoRA (arXiv 2402.16843) with your copies of its base model, its\n"
        "networks and its lists; scores them with CLIPScore where you have the model.",
    )
    group.add_argument("--style", choices=tuple(STYLES), help="half of the testbed (default anime)")
    group.add_argument(
        "--base",
        metavar="PATH",
        help="the base model, a diffusers folder or a .safetensors file: "
        + ", ".join(f"{style.base} for {style.name}" for style in STYLES.values()),
    )
    group.add_argument(
        "--config", metavar="FOLDER", help="needed for a base in a single file; as for `generate`"
    )
    group.add_argument(
        "--vae",
        metavar="FOLDER",
        help="an autoencoder instead of the base's own, a diffusers folder; the testbed's reality has "
        f"{STYLES['reality'].autoencoder}",
    )
    group.add_argument(
        "--lora-dir",
        metavar="FOLDER",
        help="the testbed's networks: the archive's lora/, with anime/character_1.safetensors and so on",
    )
    group.add_argument(
        "--testbed",
        metavar="FOLDER",
        help="a copy of the testbed's repository, for its lists and prompts (default: looked for in "
        "--lora-dir and the two folders above it)",
    )
    group.add_argument(
        "--clip",
        metavar="PATH",
        help="clip-vit-base-patch16, a folder or a name in the hub's cache; without it pictures are drawn "
        "and not scored, and a later run with it scores them",
    )
    group.add_argument("--prefix", metavar="TEXT", help="what prompts begin with (default: the testbed's)")
    group.add_argument("--negative", metavar="TEXT", help="what to keep away from (default: the testbed's)")
    group.add_argument(
        "--strength",
        type=number(-100, 100),
        metavar="X",
        help=f"of every network (default {STRENGTH:g})",
    )
    group.add_argument("--sampler", metavar="NAME", help=f"as for `generate` (default {SAMPLER})")
    sizes = ", ".join(f"{style.width} × {style.height} for {style.name}" for style in STYLES.values())
    group.add_argument("--width", type=whole(8, 8192), metavar="N", help=f"pixels (default: {sizes})")
    group.add_argument("--height", type=whole(8, 8192), metavar="N", help="pixels")
    group.add_argument("--device", metavar="NAME", help="as for `generate`")
    group.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        help="default: float16 on cuda, else float32; the testbed's own pictures are in float32",
    )


def _add_pool(parser: argparse.ArgumentParser) -> None:
    """The options of the suite pool."""
    group = parser.add_argument_group(
        "the suite pool",
        "Dynamic selection on the embedded world: the prompt holds trigger words only, the networks\n"
        "are chosen from a pool, which is filled up with networks that nobody asks for.",
    )
    group.add_argument(
        "--pool-sizes",
        type=whole(8, 256),
        nargs="+",
        metavar="N",
        help="networks in the pool, one or more numbers (default 8 16 32 64)",
    )
    group.add_argument(
        "--keep",
        type=whole(1, 64),
        nargs="+",
        metavar="K",
        help="networks kept, one or more numbers (default 1 2 3 4)",
    )
    group.add_argument(
        "--rescans",
        type=whole(1, 1000),
        nargs="+",
        metavar="N",
        help="every how many steps the pool is looked at again, one or more numbers (default 1)",
    )


def with_defaults(arguments: Namespace) -> Namespace:
    """The arguments with the suite's defaults for what was not given.

    Raises:
        InputError: an option of another suite was given.
    """
    composlora = arguments.suite == COMPOSLORA
    owners = {
        **dict.fromkeys(_OF_COMPOSLORA, (COMPOSLORA,)),
        **dict.fromkeys(_OF_POOL, (POOL,)),
        "world": (EMBEDDED, POOL),
    }
    for name, suites in owners.items():
        if arguments.suite not in suites and getattr(arguments, name) is not None:
            raise InputError(
                f"--{name.replace('_', '-')} is no option of the suite {arguments.suite}; "
                f"give --suite {suites[0]}, or leave it out"
            )
    by_suite = {EMBEDDED: _EMBEDDED_DEFAULTS, POOL: _POOL_DEFAULTS, COMPOSLORA: _COMPOSLORA_DEFAULTS}
    defaults = dict(by_suite[arguments.suite])
    if composlora:
        style = STYLES[arguments.style or "anime"]
        defaults |= {name: getattr(style, name) for name in ("steps", "cfg", "width", "height")}
        defaults["style"] = style.name
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    return Namespace(**{**vars(arguments), **defaults, **given})
