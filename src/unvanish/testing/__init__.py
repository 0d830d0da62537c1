"""Tools for testing rules and remedies, those of plugins too: conformance suites, run records made by hand, sample networks.

It needs pytest. `RuleConformance`, `Symmetry` and `records` do not import torch.

Example:
    A rule and its suite. In a package of your own, rule and suite are in modules of their own, and pytest runs all checks:

    >>> import numpy as np
    >>> from unvanish.diagnose.rule import Rule
    >>> from unvanish.diagnose.thresholds import Threshold
    >>> from unvanish.record.finding import Finding, Severity
    >>> from unvanish.testing import RuleConformance, records
    >>> QUIET = Threshold(-3.0, "log10", "convention", "a thousandth of the usual deviation", sure=-6.0)
    >>> class QuietLayer(Rule):
    ...     '''A layer's output has a thousandth of the usual deviation at the end of the run.
    ...
    ...     Sees: the standard deviation of every site's output at the last samples.
    ...
    ...     Why it matters: an output that does not vary says nothing about the input.
    ...
    ...     Known problems: a residual branch that starts at zero is quiet at first.
    ...
    ...     Example: a layer behind a gate that never opens.
    ...
    ...     References: LeCun 1998, "Efficient BackProp".
    ...     '''
    ...
    ...     code, rank, explains = "quiet-layer", 47, frozenset({"loss-not-decreasing"})
    ...
    ...     def examine(self, view):
    ...         log10_deviation = np.log10(view.late_median("activation_std"))  # (sites,)
    ...         quiet = [int(site) for site in np.flatnonzero(log10_deviation <= QUIET.value)]
    ...         if quiet:
    ...             value = float(log10_deviation[quiet[0]])
    ...             yield Finding(
    ...                 self.code,
    ...                 Severity.WARNING,
    ...                 QUIET.confidence(value),
    ...                 "Some layers have next to no output.",
    ...                 "Their output has a thousandth of the usual deviation.",
    ...                 sites=view.site_labels(quiet),
    ...                 evidence=(QUIET.as_evidence("deviation of the output", value),),
    ...             )
    >>> QUIET_RUN = records.with_reading(records.healthy(), "activation_std", 1e-5, of=[2, 3])
    >>> class TestQuietLayer(RuleConformance):
    ...     rule = QuietLayer
    ...     sick = {"two quiet layers": QUIET_RUN}
    ...     healthy = {"a plain training": records.healthy()}
    >>> TestQuietLayer().test_it_finds_its_sick_record(QUIET_RUN)
    >>> TestQuietLayer().test_it_has_no_loud_finding_for_a_healthy_record(records.healthy())
    >>> TestQuietLayer().test_it_raises_nothing_on_incomplete_records(QUIET_RUN)

    A remedy and its suite:

    >>> from torch import nn
    >>> from unvanish.errors import NotApplicable
    >>> from unvanish.remedies import Remedy
    >>> from unvanish.remedies.edits.module_edits import Initialise
    >>> from unvanish.testing import SAMPLE_NETWORKS, RemedyConformance
    >>> class ZeroBias(Remedy):
    ...     '''Sets every bias of a Linear layer to zero.
    ...
    ...     Does: puts zero into the biases of Linear layers, and drops the optimizer's state of them.
    ...     Helps: where biases have become large.
    ...     Harms: what the biases had learned is lost.
    ...     Cost: none.
    ...     References: none.
    ...     '''
    ...
    ...     name, family, summary, treats = "zero-bias", "initialisation", "every bias zero", ("off-critical-init",)
    ...
    ...     def plan(self, network, context):
    ...         layers = {path: m for path, m in network.named_modules() if type(m) is nn.Linear and m.bias.requires_grad}
    ...         if not layers:
    ...             raise NotApplicable("zero-bias: no Linear layer has a bias that is trained; choose another remedy")
    ...         return tuple(Initialise(path, "bias", "0", ((m.bias, nn.init.zeros_),)) for path, m in layers.items())
    >>> class TestZeroBias(RemedyConformance):
    ...     remedy = ZeroBias
    >>> TestZeroBias().test_family_summary_and_treats_are_valid()
    >>> TestZeroBias().test_it_has_no_violations(SAMPLE_NETWORKS["residual blocks"])
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
    from unvanish.testing.networks import SAMPLE_NETWORKS, SampleNetwork
    from unvanish.testing.remedy_conformance import RemedyConformance

__all__ = ["SAMPLE_NETWORKS", "RemedyConformance", "RuleConformance", "SampleNetwork", "Symmetry", "records"]

_WITH_TORCH = {
    "SAMPLE_NETWORKS": "unvanish.testing.networks",
    "SampleNetwork": "unvanish.testing.networks",
    "RemedyConformance": "unvanish.testing.remedy_conformance",
}


def __getattr__(name: str) -> Any:
    if name in _WITH_TORCH:
        return getattr(import_module(_WITH_TORCH[name]), name)
    raise AttributeError(f"module 'unvanish.testing' has no attribute {name!r}")
