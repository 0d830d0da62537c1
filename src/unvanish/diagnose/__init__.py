"""Readings to findings: rules that see only the record, and a table of which finding explains which. It never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unvanish.diagnose.group_by_root import group_by_root
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.rules import built_in
from unvanish.diagnose.run_view import RunView
from unvanish.errors import UsageError
from unvanish.record.finding import Finding, Severity
from unvanish.record.run import Run

__all__ = ["diagnose"]


def diagnose(
    run: Run, rules: Sequence[Rule] | None = None, *, on_fault: Callable[[Rule, Exception], None] | None = None
) -> list[Finding]:
    """The findings of a run, the root first, symptoms folded under what causes them. The same run gives the same findings.

    Without `rules`, the built-in ones judge. A rule that raises, or gives what is no finding of its own, ends the diagnosis, unless
    `on_fault` is there to be told: then all that this rule gave is left out.
    """
    if not len(run.sampled):
        return []
    chart = RunView(run)
    panel = built_in() if rules is None else tuple(rules)
    found = [finding for rule in panel for finding in _examined(rule, chart, on_fault)]
    return group_by_root(found, {rule.code: rule for rule in panel})


def _examined(rule: Rule, chart: RunView, on_fault: Callable[[Rule, Exception], None] | None) -> list[Finding]:
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # readings hold infinities, and are meant to
            return [_own(rule, finding) for finding in rule.examine(chart)]
    except Exception as fault:
        if on_fault is None:
            raise
        on_fault(rule, fault)
        return []


def _own(rule: Rule, given: object) -> Finding:
    """What a rule gave, where it is a finding of this rule that all other rooms can read; UsageError where it is not."""
    if not isinstance(given, Finding):
        raise UsageError(f"{rule.code} gave {type(given).__name__} in place of a Finding")
    if type(given.severity) is not Severity:  # its equal as a string is found here, before it breaks a report
        raise UsageError(f"{rule.code} gave the severity {given.severity!r}; take one of {', '.join(Severity.__members__)}")
    if given.code != rule.code or not 0 <= given.confidence <= 1:
        raise UsageError(f"{rule.code} gave a finding with the code {given.code!r} and the confidence {given.confidence}")
    return given
