"""The options of `bench`. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from typing import Final

from loratorio_ext.cli.option_types import Commands, add_common, add_text, add_whole

# Kept equal to shapes.SHAPES by a test; importing them would import torch.
SIZES: Final = ("embedded", "small", "medium", "sd15", "sdxl")

# The same for ways.WAYS, without the two that are always there.
WAYS: Final = (
    "plain-in-sequence",
    "router-in-sequence",
    "peft-set-adapters",
    "peft-mixed-batch",
    "merge-and-back",
)

_PEFT: Final = ("peft", "peft-fused", "peft-masked")
# The same for steps.steps_for, without the plain one.
STEPS: Final = ("paper", "merged", *_PEFT, "placed", "recenter-1", "reuse", "rescan", "rescan-fresh")


def add_bench(commands: Commands) -> None:
    """The command and its options."""
    parser = commands.add_parser(
        "bench",
        help="measure what the networks' rows cost, beside the other ways to predict them",
        description="Time the same predictions, the base's and each network's, by our router, by peft and\n"
        "by merging, and whole steps of the composition beside a plain step, on a UNet with\n"
        "random weights. The ways take turns, and each must agree with our router before it is timed.\n"
        "Results are written after every combination of size, rank and number of networks.",
    )
    parser.add_argument(
        "--size",
        nargs="+",
        choices=SIZES,
        default=["embedded", "small"],
        metavar="NAME",
        help=f"one or more of: {', '.join(SIZES)} (default embedded small); sd15 and sdxl have the shapes of "
        "Stable Diffusion 1.5 and XL",
    )
    text = "side of the latent, an eighth of the picture's (default: the size's own)"
    add_whole(parser, "--latent", 8, 512, text)
    add_whole(parser, "--networks", 1, 32, "how many (default 4)", nargs="+", default=[4])
    add_whole(parser, "--rank", 1, 256, "of the networks (default 16)", nargs="+", default=[16])
    parser.add_argument(
        "--layers",
        choices=("linear", "conv"),
        default="linear",
        help="what networks touch: the attention blocks' linear layers and projections, or every linear "
        "layer and convolution (default linear)",
    )
    add_whole(parser, "--pictures", 1, 64, "pictures in the batch (default 1)", default=1)
    add_whole(parser, "--rounds", 2, 1000, "measured rounds (default 7)", default=7)
    parser.add_argument(
        "--measure",
        choices=("all", "ways", "steps"),
        default="all",
        help="the ways to get the same predictions, whole steps of the composition, or both (default all)",
    )
    parser.add_argument(
        "--ways",
        nargs="*",
        choices=WAYS,
        default=list(WAYS),
        metavar="NAME",
        help=f"beside the plain UNet and our router, none or more of: {', '.join(WAYS)} (default all)",
    )
    parser.add_argument(
        "--steps",
        nargs="*",
        choices=STEPS,
        default=list(STEPS),
        metavar="NAME",
        help=f"beside the plain step, none or more of: {', '.join(STEPS)} (default all)",
    )
    add_text(parser, "--device", "NAME", "cpu, cuda, cuda:1 (default: cuda where there is one)")
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), help="default: float16 on cuda, else float32"
    )
    add_whole(parser, "--threads", 1, 1024, "threads of torch on the CPU (default: torch's)")
    add_text(parser, "--out", "FOLDER", "default outputs/bench", default="outputs/bench")
    add_common(parser)
