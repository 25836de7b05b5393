"""What a plan that was carried out has done to each tensor, for the report."""

from __future__ import annotations

from initium.lines import Line
from initium.planning import Plan
from initium.report import Entry, Report
from initium.writes import CONSTRUCTOR, USER_CODE, Capture, Load, Write, is_keep


def report_of(plan: Plan) -> Report:
    """What has happened to the tensors of the plan."""
    entries = tuple(_entry(line, plan.model) for line in plan)
    findings = tuple(finding.message for finding in plan.findings)
    return Report(plan.model, plan.seed, entries, findings, plan.loadings)


def _entry(line: Line, model: str) -> Entry:
    last = line.last
    if last is None or is_keep(last):
        info = f"The value is the same before and after calling `init_weights` of {model}"
        kind = "unset" if last is None else "kept"
        return Entry(line.name, line.shape, kind, info, last.source if last else "")
    return Entry(line.name, line.shape, _kind(last), last.info, last.source)


def _kind(write: Write) -> str:
    if isinstance(write, Load):
        return "loaded"
    if write.by == USER_CODE:
        return "user code"
    if isinstance(write, Capture):
        return "captured"
    return "constructed" if write.by == CONSTRUCTOR else "filled"
