"""The options of every command. Imports no torch, so that --help answers at once."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeAlias

from loratorio_ext import __version__
from loratorio_ext.settings import SETTINGS, Setting, Settings, Value

METHODS: Final = ("loratorio", "merge", "switch", "composite", "base")
# The WebUI's switch; here the method says it.
NOT_OPTIONS: Final = frozenset({"enabled"})

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


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the layout of descriptions and leaves room for long option names."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as scripts like it, and takes no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Formatter, "allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        """End with code 2."""
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help tells more)\n")


Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """A type for argparse: a whole number from `lowest` to `highest`."""

    def parse(text: str) -> int:
        try:
            # Python would also read "1_000", and texts of any length slowly.
            value = int(text) if text.lstrip("+-").isdecimal() and len(text) <= 20 else None
        except ValueError:
            value = None
        if value is None or not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(
                f"{text[:40]!r} must be a whole number from {lowest} to {highest}"
            )
        return value

    return parse


def number(lowest: float, highest: float) -> Callable[[str], float]:
    """A type for argparse: a finite number from `lowest` to `highest`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} must be a number from {lowest:g} to {highest:g}")
        return value

    return parse


SEED: Final = whole(0, 2**63 - 1)


def _setting_type(setting: Setting) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        try:
            return setting.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def _metavar(setting: Setting) -> str:
    if setting.choices:
        return "{" + ",".join(setting.choices) + "}"
    if setting.type is str:
        return "TEXT"
    return "N" if setting.type is int else "X"


def _range(setting: Setting) -> str:
    """The range of a number, for the help; choices are already in the option's form."""
    return "" if setting.minimum is None else f"{setting.minimum:g} to {setting.maximum:g}, "


def add_settings(parser: argparse.ArgumentParser) -> None:
    """One option for each setting of the composition, as `settings.SETTINGS` describes it."""
    group = parser.add_argument_group("settings of the composition (method loratorio)")
    for setting in SETTINGS:
        if setting.name in NOT_OPTIONS:
            continue
        default = "none" if setting.default == "" else setting.default
        text = f"{setting.help} ({_range(setting)}default {default})"
        group.add_argument(
            "--" + setting.name.replace("_", "-"),
            dest=setting.name,
            type=_setting_type(setting),
            default=setting.default,
            metavar=_metavar(setting),
            help=text.replace("%", "%%"),
        )


def settings_from(arguments: argparse.Namespace) -> Settings:
    """The settings that the options gave; ValueError where two of them do not go together."""
    given = {
        setting.name: getattr(arguments, setting.name)
        for setting in SETTINGS
        if setting.name not in NOT_OPTIONS
    }
    return Settings.from_dict({"enabled": True, **given})


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress; results and errors alone")
    parser.add_argument("--traceback", action="store_true", help="show Python's traceback of a failure")


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
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        metavar="PATH",
        help="a diffusers folder or a .safetensors file: Stable Diffusion 1.x, 2.x, XL",
    )
    model.add_argument(
        "--config",
        metavar="FOLDER",
        help="for a model in a single file: a diffusers folder of the same family, for its configuration and "
        "tokenizer (default: from diffusers' cache, or the hub)",
    )
    model.add_argument("--lora-dir", metavar="FOLDER", help="where the tags' networks lie, as .safetensors")
    model.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: cuda where there is one)"
    )
    model.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), help="default: float16 on cuda, else float32"
    )
    model.add_argument(
        "--offline", action="store_true", help="never ask a model hub; a single file then needs --config"
    )
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
    _add_common(parser)


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
    _add_common(parser)


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
    _add_common(parser)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(prog="loratorio", description=DESCRIPTION, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"loratorio {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command", title="commands")
    _add_generate(commands)
    _add_demo(commands)
    _add_train_demo(commands)
    return top
