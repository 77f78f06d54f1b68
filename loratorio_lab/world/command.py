"""Make the embedded world again: base model, networks and judge."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from loratorio_ext.cli.console import OK, Console, Interrupted, Work
from loratorio_ext.cli.writing import prepare_folder
from loratorio_lab.tools import LabTools


def run(arguments: Namespace, tools: LabTools, console: Console, work: Work) -> int:
    """`loratorio-lab train-demo`: writes the world into --out; what is there already is not made again."""
    out = prepare_folder(Path(arguments.out))

    def report(line: str) -> None:
        work.begun = True
        console.note(line)

    try:
        tools.train(out, seed=arguments.seed, workers=arguments.workers, quick=arguments.quick, report=report)
    except KeyboardInterrupt:
        raise Interrupted(
            f"the finished parts are kept in {out}; the same command goes on from them"
        ) from None
    console.result(str(out))
    return OK
