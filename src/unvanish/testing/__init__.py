"""For those who write rules: a suite that their rule must pass, and records made by hand. It needs pytest, as nothing else does.

from unvanish.testing import RuleConformance, records

class TestForgetfulGates(RuleConformance):
    rule = ForgetfulGates
    sick = {"gates that stay shut": records.reading(records.healthy(), "activation_mean", 0.0)}
    healthy = {"a plain training": records.healthy()}

It never judges whether a rule is right about networks: for that there are trainings.
"""

import pytest

pytest.register_assert_rewrite("unvanish.testing.conformance")  # so that a failed check shows what it compared

from unvanish.testing import records  # noqa: E402
from unvanish.testing.conformance import RuleConformance  # noqa: E402
from unvanish.testing.variations import Symmetry  # noqa: E402

__all__ = ["RuleConformance", "Symmetry", "records"]
