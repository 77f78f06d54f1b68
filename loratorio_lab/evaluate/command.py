"""Measure which way of combining networks draws what was asked for."""

from __future__ import annotations

from argparse import Namespace

from loratorio_ext.cli.console import Console, Work
from loratorio_ext.cli.tools import hush_libraries
from loratorio_lab.evaluate.options import COMPOSLORA, POOL, with_defaults
from loratorio_lab.tools import LabTools


def run(arguments: Namespace, tools: LabTools, console: Console, work: Work) -> int:
    """`loratorio-lab evaluate`: records, results.json and results.md in --out, the page on stdout."""
    hush_libraries()  # before the modules below import them
    from loratorio_lab.evaluate import engine

    arguments = with_defaults(arguments)
    if arguments.suite == COMPOSLORA:
        from loratorio_lab.evaluate.composlora.suite import ComposLoraSuite

        return engine.run(ComposLoraSuite(arguments), arguments, tools, console, work)
    if arguments.suite == POOL:
        from loratorio_lab.evaluate.pool import PoolSuite

        return engine.run(PoolSuite(arguments, tools), arguments, tools, console, work)
    from loratorio_lab.evaluate.embedded import EmbeddedSuite

    return engine.run(EmbeddedSuite(arguments, tools), arguments, tools, console, work)
