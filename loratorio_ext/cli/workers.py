"""Who draws an evaluation's batches: this process, or workers."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from loratorio_ext.cli.console import Console
    from loratorio_ext.cli.tools import Tools
    from loratorio_ext.evaluate.spread import Batch, Each, Open

    B = TypeVar("B", bound=Batch)
    R = TypeVar("R")


def drawing(arguments: Namespace, open_drawing: Open[B, R], tools: Tools, console: Console) -> Each[B, R]:
    """What draws the batches, as --workers says.

    Raises:
        ValueError: several workers are asked for and Ray is not installed.
    """
    from loratorio_ext.evaluate.spread import alone

    if arguments.workers == 1:
        return alone(open_drawing)
    each: Each[B, R] = tools.over_workers(open_drawing, arguments.workers, console.note)
    return each
