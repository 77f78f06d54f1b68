"""What a generation did: numbers for users, pages and files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from loratorio_ext.run.evaluation import NetworkUse
from loratorio_ext.run.schedule import Method
from loratorio_ext.run.schema import Described, schema_of, to_json
from loratorio_ext.run.step_report import StepReport
from loratorio_ext.settings import Settings

REPORT_NAME: Final = "loratorio.report"
REPORT_VERSION: Final = 1

_USE = 200  # approximate bytes of a `NetworkUse` without its name


@dataclass(frozen=True)
class Totals:
    """Sums over the steps so far."""

    steps: Annotated[int, Described("evaluations of the model", minimum=0)]
    rows: Annotated[int, Described("rows through the model", minimum=0)]
    calls: Annotated[int, Described("model calls", minimum=0)]
    seconds: Annotated[
        float, Described("time of the evaluations, without what the sampler does between them", minimum=0)
    ]
    plain_rows: Annotated[
        int, Described("rows that a plain generation would have evaluated in these steps", minimum=0)
    ]
    ratio: Annotated[float | None, Described("rows / plain_rows; null without steps")]


@dataclass(frozen=True)
class ReportDocument:
    """The JSON form of a report. A change that breaks readers raises the version; new fields alone do not."""

    schema: Annotated[Literal["loratorio.report"], Described("which kind of file this is")]
    version: Annotated[Literal[1], Described("raised by changes that break readers")]
    host: Annotated[str, Described("name of the host, which ran the sampler")]
    method: Annotated[Method, Described("how the networks were combined")]
    switch_every: Annotated[int, Described("evaluations after which Switch moves on", minimum=1)]
    settings: Annotated[Mapping[str, object], Described("every setting by its name")]
    networks: Annotated[
        tuple[NetworkUse, ...], Described("the networks of the prompt, then those of the pool")
    ]
    composed: Annotated[
        tuple[str, ...], Described("names of the composed networks, in the order of similarity and weight")
    ]
    finished: Annotated[bool, Described("false: the generation was cancelled or is still running")]
    totals: Annotated[Totals, Described("sums over the steps")]
    warnings: Annotated[tuple[str, ...], Described("what the user should know, each in a sentence")]
    steps: Annotated[tuple[StepReport, ...], Described("the evaluations, in order")]


REPORT_SCHEMA: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What one generation did",
        **schema_of(ReportDocument),
    }
)
"""JSON Schema of ``Report.to_dict()``."""


class Report:
    """Grows as the run goes on; only reading it waits for the device.

    A run that is cancelled leaves the steps that were completed, and ``finished`` False.

    Attributes:
        settings: the settings of the run.
        uses: the networks of the run, including those that are kept merged.
        method: LoRAtorio or one of the usual methods.
        switch_every: Switch's period in evaluations.
        host: name of the host, which ran the sampler.
        composed: names of the composed networks, in the order of ``StepReport.similarity`` and ``weight``.
        finished: whether the last evaluation was reached or the host said that it is done.
    """

    def __init__(
        self, settings: Settings, uses: Sequence[NetworkUse], method: Method, switch_every: int, host: str
    ) -> None:
        """An empty report."""
        self.settings = settings
        self.uses = tuple(uses)
        self.method = method
        self.switch_every = switch_every
        self.host = host
        self.composed = tuple(use.name for use in uses if use.compose)
        self.finished = False
        self._steps: list[Callable[[], StepReport] | StepReport] = []
        self._warnings: list[str] = []
        # Networks that have acted at no step so far, without those whose tags say that they never do.
        self._idle = [use for use in uses if not use.window.never]

    def warn(self, text: str) -> None:
        """Add a sentence for the user; the same sentence is kept once."""
        if text not in self._warnings:
            self._warnings.append(text)

    def add(self, settle: Callable[[], StepReport]) -> None:
        """Add a completed step; ``settle`` waits for the device, and is called when somebody reads it."""
        self._steps.append(settle)

    def begin(self, index: int, total: int) -> None:
        """Evaluation ``index`` of ``total`` comes next."""
        self._idle = [use for use in self._idle if use.window.factor(index, total) == 0]

    @property
    def steps(self) -> tuple[StepReport, ...]:
        """The completed steps; reading them frees what they held on the device, since reports live long."""
        for place, step in enumerate(self._steps):
            if not isinstance(step, StepReport):
                self._steps[place] = step()
        return tuple(step for step in self._steps if isinstance(step, StepReport))

    @property
    def size(self) -> int:
        """Approximate bytes of memory that the completed steps, the networks and their names take."""
        texts = (*(use.name for use in self.uses), *self._warnings)
        return sum(map(sys.getsizeof, texts)) + _USE * len(self.uses) + sum(step.size for step in self.steps)

    @property
    def totals(self) -> Totals:
        """Sums over the completed steps."""
        steps = self.steps
        rows, plain = sum(step.rows for step in steps), sum(step.plain_rows for step in steps)
        return Totals(
            steps=len(steps),
            rows=rows,
            calls=sum(step.calls for step in steps),
            seconds=sum(step.seconds for step in steps),
            plain_rows=plain,
            ratio=rows / plain if plain else None,
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know: first what came up during the run, then what the steps show."""
        steps = self.steps
        found = []
        for name in dict.fromkeys(name for step in steps for name in step.non_finite):
            where = _ranges(step.index for step in steps if name in step.non_finite)
            found.append(
                f"network {name!r} gave NaN or infinite values at evaluation {where}"
                f"{_in_images(name, steps)}: no weight there"
            )
        spoilt = [step.index for step in steps if not step.finite]
        if spoilt:
            found.append(
                f"the prediction held NaN or infinite values at evaluation {_ranges(spoilt)}: the pictures "
                "are probably spoilt; use a higher precision, or leave networks out to find the faulty one"
            )
        fallback = [step.index for step in steps if step.fallback]
        if fallback:
            found.append(
                f"no network was usable at evaluation {_ranges(fallback)}: the base prediction was used there"
            )
        idle = self._idle if self.finished and steps and self.method != "base" else ()
        found += [
            f"network {use.name!r} acted at none of the {len(steps)} evaluations, since its tag says "
            f"steps={use.steps}; give evaluations from 0 to {len(steps)}, or fractions such as 0-0.4"
            for use in idle
        ]
        found += () if {use.name for use in idle} >= {*self.composed} else self._never_combined(steps)
        return (*self._warnings, *found)

    def _never_combined(self, steps: Sequence[StepReport]) -> tuple[str, ...]:
        """A warning when a finished run did not combine the networks by the chosen method at any step."""
        wanted = "composed" if self.method == "loratorio" else self.method
        if not self.finished or not steps or not self.composed or self.method.startswith(("base", "merge")):
            return ()
        if any(step.mode in (wanted, "placed") for step in steps):
            return ()
        if all(step.mode == "base" for step in steps):
            return (f"no network acted at any of the {len(steps)} evaluations, as their tags say (steps=)",)
        return (
            f"the networks were merged at all {len(steps)} evaluations and {self.method} at none: the part "
            f"from start = {self.settings.start:g} to end = {self.settings.end:g} contains no evaluation; "
            "widen it or use more steps",
        )

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON, as ``REPORT_SCHEMA`` describes it; the maps are left out."""
        document = ReportDocument(
            schema=REPORT_NAME,
            version=REPORT_VERSION,
            host=self.host,
            method=self.method,
            switch_every=self.switch_every,
            settings=self.settings.to_dict(),
            networks=self.uses,
            composed=self.composed,
            finished=self.finished,
            totals=self.totals,
            warnings=self.warnings,
            steps=self.steps,
        )
        return to_json(document)  # type: ignore[no-any-return]

    def to_json(self, indent: int | None = 2) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)


def _in_images(name: str, steps: Sequence[StepReport]) -> str:
    """The images of a batch in which a network was not finite, counted from 1; empty if all."""
    count = max(len(step.non_finite_in) for step in steps)
    images = {b + 1 for step in steps for b, names in enumerate(step.non_finite_in) if name in names}
    return "" if len(images) == count else f" in image {_ranges(images)} of {count}"


def _ranges(numbers: Iterable[int]) -> str:
    """Numbers for a sentence: "0, 3-5"."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
