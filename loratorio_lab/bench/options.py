"""The options of `bench`. Imports no torch, so that --help answers at once."""

from __future__ import annotations

from typing import Final

from loratorio_ext.cli.option_types import Commands, add_common, whole

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
    parser.add_argument(
        "--latent",
        type=whole(8, 512),
        metavar="N",
        help="side of the latent, an eighth of the picture's (default: the size's own)",
    )
    parser.add_argument(
        "--networks", type=whole(1, 32), nargs="+", default=[4], metavar="N", help="how many (default 4)"
    )
    parser.add_argument(
        "--rank",
        type=whole(1, 256),
        nargs="+",
        default=[16],
        metavar="N",
        help="of the networks (default 16)",
    )
    parser.add_argument(
        "--layers",
        choices=("linear", "conv"),
        default="linear",
        help="what networks touch: the attention blocks' linear layers and projections, or every linear "
        "layer and convolution (default linear)",
    )
    parser.add_argument(
        "--pictures", type=whole(1, 64), default=1, metavar="N", help="pictures in the batch (default 1)"
    )
    parser.add_argument(
        "--rounds", type=whole(2, 1000), default=7, metavar="N", help="rounds that count (default 7)"
    )
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
        "--device", metavar="NAME", help="cpu, cuda, cuda:1 (default: cuda where there is one)"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), help="default: float16 on cuda, else float32"
    )
    parser.add_argument(
        "--threads", type=whole(1, 1024), metavar="N", help="threads of torch on the CPU (default: torch's)"
    )
    parser.add_argument("--out", default="outputs/bench", metavar="FOLDER", help="default outputs/bench")
    add_common(parser)
