"""One generation for any host: which networks are evaluated when, the step, memory, and the report."""

from __future__ import annotations

from loratorio_ext.run.again import Again
from loratorio_ext.run.calls import RouterLike, RowTooLargeError
from loratorio_ext.run.evaluation import Evaluation, Prediction
from loratorio_ext.run.generation import Run
from loratorio_ext.run.report import Report, Totals
from loratorio_ext.run.rows import Half, NetworkUse, Row, Source
from loratorio_ext.run.schedule import Method, Mode, cost
from loratorio_ext.run.schema import REPORT_SCHEMA, REPORT_VERSION
from loratorio_ext.run.step_report import StepReport

__all__ = [
    "REPORT_SCHEMA",
    "REPORT_VERSION",
    "Again",
    "Evaluation",
    "Half",
    "Method",
    "Mode",
    "NetworkUse",
    "Prediction",
    "Report",
    "Row",
    "RowTooLargeError",
    "RouterLike",
    "Run",
    "Source",
    "StepReport",
    "Totals",
    "cost",
]
