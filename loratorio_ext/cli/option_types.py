"""What options are made of: numbers with a range, one option for each setting. Imports no torch."""

from __future__ import annotations

import argparse
import math
import re
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

from loratorio_ext.settings import SETTINGS, Setting, Settings, Value

# The settings that are options; "enabled" is the WebUI's switch, and here the method says it.
COMPOSITION: Final = tuple(setting for setting in SETTINGS if setting.name != "enabled")

LARGEST_SEED: Final = 2**63 - 1
EXIT_CODES: Final = """\
exit codes:
  0    done
  1    a failure while working
  2    wrong input; nothing was done
  130  interrupted with Ctrl-C; the message says what was kept

Results go to standard output, progress and messages to standard error."""
"""For the end of a command line's help."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as scripts like it, and takes no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        # Keeps the layout of descriptions and leaves room for long option names.
        layout = partial(argparse.RawDescriptionHelpFormatter, max_help_position=30, width=100)
        super().__init__(**{"formatter_class": layout, "allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        """End with code 2."""
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help tells more)\n")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def whole(lowest: int, highest: int, text: str) -> int:
    """The whole number that the text of an option writes; ArgumentTypeError outside the range."""
    # Python would also read "1_000", and texts of any length slowly.
    value = int(text) if re.fullmatch(r"[+-]?\d{1,19}", text) else None
    if value is None or not lowest <= value <= highest:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} must be a whole number from {lowest} to {highest}")
    return value


def number(lowest: float, highest: float, text: str) -> float:
    """The finite number that the text of an option writes; ArgumentTypeError outside the range."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not lowest <= value <= highest:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} must be a number from {lowest:g} to {highest:g}")
    return value


# What options are added to: a parser, or a group of one.
Options: TypeAlias = argparse._ActionsContainer


def add_whole(options: Options, name: str, lowest: int, highest: int, text: str, **more: Any) -> None:
    """An option for a whole number in a range; `text` is its help, `more` as argparse has it."""
    options.add_argument(name, type=partial(whole, lowest, highest), metavar="N", help=text, **more)


def add_number(options: Options, name: str, lowest: float, highest: float, text: str, **more: Any) -> None:
    """The same for a finite number."""
    options.add_argument(name, type=partial(number, lowest, highest), metavar="X", help=text, **more)


def add_text(options: Options, name: str, metavar: str, text: str, **more: Any) -> None:
    """The same for a text, a name or a place, as `metavar` says."""
    options.add_argument(name, metavar=metavar, help=text, **more)


def add_seed(options: Options) -> None:
    """--seed, of the first picture."""
    text = "seed of the first picture; those of the others count up from it (default 1)"
    add_whole(options, "--seed", 0, LARGEST_SEED, text, default=1)


def _value(setting: Setting, text: str) -> Value:
    try:
        return setting.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_settings(parser: argparse.ArgumentParser) -> None:
    """One option for each setting of the composition, as `settings.SETTINGS` describes it."""
    group = parser.add_argument_group("settings of the composition (method loratorio)")
    for setting in COMPOSITION:
        text = "{" + ",".join(setting.choices) + "}" if setting.choices else "TEXT"
        allowed = "" if setting.minimum is None else f"{setting.minimum:g} to {setting.maximum:g}, "
        default = "none" if setting.default == "" else setting.default
        group.add_argument(
            "--" + setting.name.replace("_", "-"),
            type=partial(_value, setting),
            default=setting.default,
            metavar={int: "N", float: "X"}.get(setting.type, text),
            help=f"{setting.help} ({allowed}default {default})".replace("%", "%%"),
        )


def settings_from(arguments: argparse.Namespace) -> Settings:
    """The settings that the options gave; ValueError where two of them do not go together."""
    given = {setting.name: getattr(arguments, setting.name) for setting in COMPOSITION}
    return Settings.from_dict({"enabled": True, **given})


def add_device(options: Options, dtype: str = "default: float16 on cuda, else float32") -> None:
    """--device and --dtype; `dtype` is the help of the second."""
    add_text(options, "--device", "NAME", "cpu, cuda, cuda:1, mps (default: cuda where there is one)")
    options.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help=dtype)


def add_model(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Which model, which networks, and where it runs; ``several``: the model may be named more than once."""
    model = parser.add_argument_group("model")
    text = "a diffusers folder or a .safetensors file: Stable Diffusion 1.x, 2.x, XL"
    more: dict[str, Any] = {}
    if several:
        text += "; several times, or a folder of such: a choice, beginning with the first"
        more = {"action": "append"}
    add_text(model, "--model", "PATH", text, type=Path, **more)
    text = (
        "for a model in a single file: a diffusers folder of the same family, for its configuration and "
        "tokenizer (default: from diffusers' cache, or the hub)"
    )
    add_text(model, "--config", "FOLDER", text)
    text = "the folder of the networks that tags name, .safetensors files"
    add_text(model, "--lora-dir", "FOLDER", text, type=Path)
    add_device(model)
    text = "never contact a model hub; a single file then needs --config"
    model.add_argument("--offline", action="store_true", help=text)


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that every command has."""
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, only results and errors")
    parser.add_argument("--traceback", action="store_true", help="show Python's traceback of a failure")
