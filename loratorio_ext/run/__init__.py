"""One generation for any host: which networks are evaluated when, the step, memory, and the report."""

from __future__ import annotations

from loratorio_ext.run.calls import RowTooLargeError
from loratorio_ext.run.evaluation import (
    BRANCHES,
    Branch,
    Evaluation,
    GivenBase,
    NetworkUse,
    Prediction,
    Row,
    RowStrengths,
    Source,
)
from loratorio_ext.run.report import REPORT_SCHEMA, REPORT_VERSION, Report, Totals
from loratorio_ext.run.reuse import FrozenComposition
from loratorio_ext.run.routes import Routes
from loratorio_ext.run.run import Run
from loratorio_ext.run.schedule import Method, Mode, cost
from loratorio_ext.run.step_report import StepReport

__all__ = [
    "BRANCHES",
    "REPORT_SCHEMA",
    "REPORT_VERSION",
    "Branch",
    "Evaluation",
    "FrozenComposition",
    "GivenBase",
    "Method",
    "Mode",
    "NetworkUse",
    "Prediction",
    "Report",
    "Routes",
    "Row",
    "RowStrengths",
    "RowTooLargeError",
    "Run",
    "Source",
    "StepReport",
    "Totals",
    "cost",
]
