"""Measure what the router and the method cost, beside the other ways to get the same predictions."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loratorio_ext.cli.console import FAILED, OK, Console, InputError, Interrupted, Work
from loratorio_ext.cli.tools import hush_libraries
from loratorio_ext.cli.writing import prepare_folder, write_text

if TYPE_CHECKING:
    from loratorio_lab.bench.measure import Measured
    from loratorio_lab.bench.plan import Part

SCHEMA = "loratorio.bench"
SCHEMA_VERSION = 1


class _Results:
    """What was measured so far, on disk after every measurement."""

    def __init__(self, folder: Path, machine: dict[str, Any], made_with: dict[str, str]) -> None:
        self.folder = folder
        self.measured: list[tuple[Part, Measured]] = []
        self.left_out: list[str] = []
        self._machine = machine
        self._made_with = made_with

    def write(self) -> str:
        """Write results.json and results.md, and return the table."""
        from loratorio_lab.bench.table import markdown

        found = [{"of": part.to_dict(), **measured.to_dict()} for part, measured in self.measured]
        document = {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            "made_with": self._made_with,
            "machine": self._machine,
            "measured": found,
            "left_out": self.left_out,
        }
        table = markdown(self._machine, self.measured, self.left_out)
        write_text(self.folder / "results.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        write_text(self.folder / "results.md", table)
        return table


def run(arguments: Namespace, console: Console, work: Work) -> int:
    """`loratorio-lab bench`: results.json and results.md in --out, the table on stdout.

    A way that gives other predictions than our router is not timed, and the exit code is then 1.
    """
    hush_libraries()  # before the modules below import them
    import torch

    from loratorio_ext.hosts.diffusers_host.pipeline import pick_device, pick_dtype
    from loratorio_lab.bench.machine import machine, versions
    from loratorio_lab.bench.measure import rounds_of
    from loratorio_lab.bench.plan import measure_all, parts

    device = pick_device(arguments.device)
    dtype = pick_dtype(arguments.dtype, device)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    asked = parts(
        arguments.size,
        arguments.latent,
        arguments.networks,
        arguments.rank,
        arguments.layers,
        arguments.pictures,
    )
    copies = (arguments.measure != "steps" and "merge-and-back" in arguments.ways) + (
        arguments.measure != "ways" and "peft-fused" in arguments.steps
    )
    too_large = {part: part.does_not_fit(device, dtype, copies=copies) for part in asked}
    wanted = [part for part in asked if too_large[part] is None]
    results = _Results(Path(arguments.out), machine(device, dtype), versions())
    results.left_out = [why for why in too_large.values() if why is not None]
    if not wanted:
        raise InputError("; ".join(results.left_out))
    prepare_folder(results.folder)
    for why in results.left_out:
        console.warn(f"left out: {why}")
    rounds = arguments.rounds
    total, done = len(wanted) * rounds_of(rounds, arguments.measure), 0
    try:
        with console.progress("bench", "round") as shown:
            on_step = work.watch(shown)

            def on_round() -> None:
                nonlocal done
                done += 1
                on_step(done, total)

            on_step(0, total)
            for part, measured in measure_all(
                wanted, device, dtype, rounds, arguments.measure, arguments.ways, arguments.steps, on_round
            ):
                results.measured.append((part, measured))
                results.write()
    except KeyboardInterrupt:
        if not results.measured:
            raise
        count = f"{len(results.measured)} of {len(wanted)} measurements"
        raise Interrupted(f"{count} are kept in {results.folder}") from None
    console.result(results.write())
    console.result(str(results.folder / "results.md"))
    wrong = sorted({name for _, measured in results.measured for name in measured.wrong})
    if wrong:
        console.error(f"failed: other predictions than our router's by {', '.join(wrong)}; see the table")
        return FAILED
    return OK
