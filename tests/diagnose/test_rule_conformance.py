"""Runs the conformance suite for rules of plugins on every built-in rule, with the records of `test_rules`."""

from __future__ import annotations

from types import new_class

from test_rules import HEALTHY_RECORDS, SICK_RECORDS

from unvanish.diagnose.rule import Rule
from unvanish.diagnose.rules import built_in
from unvanish.testing import RuleConformance, Symmetry

# A factor in front of the loss does matter where a gradient is measured against the smallest number of its type, which stays.
NOT_SCALE_FREE = frozenset({"gradient-underflow"})


def suite(rule: Rule) -> type[RuleConformance]:
    """The suite of one rule, with its own records of the table and all healthy neighbours."""
    members = {
        "__module__": __name__,
        "rule": type(rule),
        "sick": {name: case.run for name, case in SICK_RECORDS.items() if case.code == rule.code},
        "healthy": HEALTHY_RECORDS,
        "symmetries": frozenset({Symmetry.PARAMETER_ORDER} if rule.code in NOT_SCALE_FREE else Symmetry),
    }
    return new_class(f"Test{type(rule).__name__}", (RuleConformance,), exec_body=lambda body: body.update(members))


globals().update({kind.__name__: kind for kind in map(suite, built_in())})
