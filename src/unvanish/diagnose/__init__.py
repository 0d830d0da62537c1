"""Turns the record of a run into findings: rules name problems, and symptoms are grouped under the finding that explains them."""

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
    """The findings of a run, the most severe and nearest to the root first, with symptoms grouped under what explains them.

    The same run and rules give the same findings. The run is not altered, and torch is not imported.

    Arguments:
        run: The record of a training, or of a network that was checked without one. It may be incomplete.
        rules: The rules to apply, each code once; the built-in ones by default. Rules of plugins: `unvanish.plugins.rules`.
        on_fault: Called with a rule and what it raised; the findings of that rule are then left out.

    Returns:
        No findings where the network is healthy or no step was sampled. A finding with a `severity` of INFO alone is no illness.

    Raises:
        UsageError: A rule yielded something that is no finding of its own code, with a severity and a confidence from 0 to 1;
            without `on_fault` only, as is anything else that a rule raises.

    Example:
        >>> from unvanish.testing import records
        >>> diagnose(records.healthy())
        []
        >>> stuck = records.healthy(losses=records.flat_loss())
        >>> vanishing = records.with_gradient_slope(stuck, -7.0)  # seven decades of the gradient are lost
        >>> for finding in diagnose(vanishing):
        ...     print(finding.code, finding.severity, finding.symptoms)
        vanishing-gradient critical ('loss-not-decreasing',)
    """
    if not len(run.sampled):
        return []
    view = RunView(run)
    applied = built_in() if rules is None else tuple(rules)
    findings = [finding for rule in applied for finding in _apply_rule(rule, view, on_fault)]
    return group_by_root(findings, {rule.code: rule for rule in applied})


def _apply_rule(rule: Rule, view: RunView, on_fault: Callable[[Rule, Exception], None] | None) -> list[Finding]:
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # readings hold infinities on purpose
            return [_check_finding(rule, finding) for finding in rule.examine(view)]
    except Exception as fault:
        if on_fault is None:
            raise
        on_fault(rule, fault)
        return []


def _check_finding(rule: Rule, finding: object) -> Finding:
    """The finding, where it is one of this rule and well formed. Raises UsageError where it is not."""
    if not isinstance(finding, Finding):
        raise UsageError(f"{rule.code} gave {type(finding).__name__} in place of a Finding")
    if type(finding.severity) is not Severity:  # a plain string that equals one would break reports later
        raise UsageError(f"{rule.code} gave the severity {finding.severity!r}; take one of {', '.join(Severity.__members__)}")
    if finding.code != rule.code or not 0 <= finding.confidence <= 1:
        raise UsageError(f"{rule.code} gave a finding with the code {finding.code!r} and the confidence {finding.confidence}")
    return finding
