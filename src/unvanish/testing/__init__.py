"""For those who write rules and remedies: the suites that theirs must pass. It needs pytest, as nothing else does.

from unvanish.testing import RemedyConformance, RuleConformance, records

class TestForgetfulGates(RuleConformance):
    rule = ForgetfulGates
    sick = {"gates that stay shut": records.reading(records.healthy(), "activation_mean", 0.0)}
    healthy = {"a plain training": records.healthy()}

class TestWiderGates(RemedyConformance):
    remedy = WiderGates

It never judges whether a rule is right about networks, or whether a remedy cures them: for that there are trainings. What is for
rules opens without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

# So that a failed check shows what it compared.
pytest.register_assert_rewrite("unvanish.testing.rule_conformance", "unvanish.testing.remedy_conformance")

from unvanish.testing import records  # noqa: E402
from unvanish.testing.record_variations import Symmetry  # noqa: E402
from unvanish.testing.rule_conformance import RuleConformance  # noqa: E402

if TYPE_CHECKING:
    from unvanish.testing.networks import PATIENTS, Patient
    from unvanish.testing.remedy_conformance import RemedyConformance

__all__ = ["PATIENTS", "Patient", "RemedyConformance", "RuleConformance", "Symmetry", "records"]

_WITH_TORCH = {
    "PATIENTS": "unvanish.testing.networks",
    "Patient": "unvanish.testing.networks",
    "RemedyConformance": "unvanish.testing.remedy_conformance",
}


def __getattr__(name: str) -> Any:
    if name in _WITH_TORCH:
        return getattr(import_module(_WITH_TORCH[name]), name)
    raise AttributeError(f"module 'unvanish.testing' has no attribute {name!r}")
