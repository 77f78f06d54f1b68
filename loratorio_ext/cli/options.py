"""The options of every command. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from typing import Final

from loratorio_ext import __version__
from loratorio_ext.cli.bench_options import add_bench
from loratorio_ext.cli.option_types import (
    SEED,
    Commands,
    Parser,
    add_common,
    add_model,
    add_settings,
    number,
    whole,
)
from loratorio_ext.cli.serve_options import add_serve
from loratorio_ext.cli.suites import COMPOSLORA, EMBEDDED, POOL, add_composlora, add_pool

METHODS: Final = ("loratorio", "merge", "switch", "composite", "base")
# Kept equal to evaluate.arms.ARM_NAMES by a test; importing them would import torch.
ARMS: Final = (
    "base",
    "merge",
    "switch",
    "composite",
    "loratorio",
    "loratorio-paper",
    "loratorio-fast",
    "loratorio-uniform",
    "loratorio-not-recentred",
    "loratorio-without-gain",
    "merge-recentred",
    "composite-recentred",
)

DESCRIPTION: Final = """\
Compose several LoRA networks in one picture, by the method of LoRAtorio
(arXiv 2508.11624)."""

EPILOG: Final = """\
exit codes:
  0    done
  1    a failure while working
  2    wrong input; nothing was done
  130  interrupted with Ctrl-C; the message says what was kept

Results go to standard output, progress and messages to standard error."""


def _add_generate(commands: Commands) -> None:
    parser = commands.add_parser(
        "generate",
        help="draw pictures from a prompt with <lora:name:strength> tags",
        description="Draw pictures from a prompt with <lora:name:strength> tags. Without --model, with the\n"
        "embedded model and its networks. The paths of the pictures are printed, one a line.",
        epilog="example:\n"
        "  loratorio generate 'a red plain star on sand with moon <lora:star:1> <lora:moon:1>' --batch 4",
    )
    parser.add_argument("prompt", help="what to draw; a tag <lora:NAME:STRENGTH> names a network")
    parser.add_argument("--negative", default="", metavar="TEXT", help="what to keep away from")
    parser.add_argument(
        "--method", choices=METHODS, default="loratorio", help="how networks are combined (default loratorio)"
    )
    parser.add_argument(
        "--switch-every",
        type=whole(1, 1000),
        default=5,
        metavar="N",
        help="steps a network has in a row with --method switch (default 5)",
    )
    add_model(parser)
    picture = parser.add_argument_group("pictures")
    picture.add_argument(
        "--seed",
        type=SEED,
        default=1,
        metavar="N",
        help="of the first picture; the next ones count on (default 1)",
    )
    picture.add_argument(
        "--batch", type=whole(1, 256), default=1, metavar="N", help="pictures drawn at once (default 1)"
    )
    picture.add_argument(
        "--count",
        type=whole(1, 10_000),
        default=1,
        metavar="N",
        help="batches, one after the other (default 1)",
    )
    picture.add_argument(
        "--steps",
        type=whole(1, 1000),
        metavar="N",
        help="steps of the sampler (default 20 for the embedded model, else 30)",
    )
    picture.add_argument(
        "--cfg",
        type=number(1, 1000),
        metavar="X",
        help="guidance scale, 1 for none (default 4 for the embedded model, else 7)",
    )
    picture.add_argument(
        "--sampler",
        metavar="NAME",
        help="Euler, Euler a, DPM++ 2M, ... or a scheduler of diffusers (default: the model's)",
    )
    picture.add_argument("--width", type=whole(8, 8192), metavar="N", help="pixels (default: the model's)")
    picture.add_argument("--height", type=whole(8, 8192), metavar="N", help="pixels (default: the model's)")
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        default="outputs/generate",
        metavar="PATH",
        help="a folder, or one .png file, which is written over (default outputs/generate)",
    )
    output.add_argument(
        "--report", metavar="FILE", help="write what happened at each step of the last batch, as JSON"
    )
    add_settings(parser)
    add_common(parser)


def _add_demo(commands: Commands) -> None:
    parser = commands.add_parser(
        "demo",
        help="show the method beside the usual ones, with maps, scores and costs",
        description="Draw one prompt with three networks by every method, with the embedded model; write a\n"
        "page with the pictures, each network's weight maps, the judge's scores and the costs;\n"
        "print the table.",
    )
    parser.add_argument("--out", default="outputs/demo", metavar="FOLDER", help="default outputs/demo")
    parser.add_argument("--seed", type=SEED, default=1, metavar="N", help="of the first picture (default 1)")
    parser.add_argument(
        "--pictures", type=whole(1, 16), default=5, metavar="N", help="pictures by each method (default 5)"
    )
    parser.add_argument(
        "--steps", type=whole(1, 200), default=20, metavar="N", help="steps of the sampler (default 20)"
    )
    parser.add_argument(
        "--cfg", type=number(1, 1000), default=4.0, metavar="X", help="guidance scale (default 4)"
    )
    add_settings(parser)
    add_common(parser)


def _add_evaluate(commands: Commands) -> None:
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
        choices=ARMS,
        default=list(ARMS[:5]),
        metavar="NAME",
        help=f"one or more of: {', '.join(ARMS)} (default: the first five; the others are controls)",
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
    add_pool(parser)
    add_composlora(parser)
    add_settings(parser)
    add_common(parser)


def _add_train_demo(commands: Commands) -> None:
    parser = commands.add_parser(
        "train-demo",
        help="make the embedded model, its networks and the judge again",
        description="Draw the training pictures, train the embedded model, its networks and the judge, and\n"
        "test them. Parts that --out already holds are kept and not made again.",
    )
    parser.add_argument("--out", default="outputs/world", metavar="FOLDER", help="default outputs/world")
    parser.add_argument(
        "--seed",
        type=whole(0, 2**31 - 1),
        default=1,
        metavar="N",
        help="of everything that is random (default 1, as in demo/)",
    )
    parser.add_argument(
        "--workers",
        type=whole(1, 256),
        default=2,
        metavar="N",
        help="processes side by side, one core each (default 2)",
    )
    parser.add_argument("--quick", action="store_true", help="a few steps of each part, to see that it runs")
    add_common(parser)


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="loratorio", description=DESCRIPTION, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"loratorio {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command", title="commands")
    _add_generate(commands)
    add_serve(commands)
    _add_demo(commands)
    _add_evaluate(commands)
    add_bench(commands)
    _add_train_demo(commands)
    return top
