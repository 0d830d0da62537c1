"""Readings to findings: rules that see only the record, and a table of which finding explains which. It never imports torch."""

from __future__ import annotations

from unvanish.diagnose.chart import Chart
from unvanish.diagnose.fold import fold
from unvanish.diagnose.rules import built_in
from unvanish.record.finding import Finding
from unvanish.record.run import Run

__all__ = ["diagnose"]


def diagnose(run: Run) -> list[Finding]:
    """The findings of a run, the root first, symptoms folded under what causes them. The same run gives the same findings."""
    if not len(run.sampled):
        return []
    chart = Chart(run)
    rules = built_in()
    found = [finding for rule in rules for finding in rule.examine(chart)]
    return fold(found, {rule.code: rule for rule in rules})
