"""Defines what a rule is: a class that finds one named problem in the record of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from unvanish.diagnose.run_view import RunView
from unvanish.record.finding import Finding


class Rule(ABC):
    """One problem that a network can have, and how a record shows it. Plugins add rules under the entry point `unvanish.rules`.

    The docstring of a final class is its card, from which the documentation is made: what the problem is, then the paragraphs
    "Sees:", "Why it matters:", "Known problems:", "Example:" and "References:". `unvanish.testing.RuleConformance` tests a rule.

    Attributes:
        code: The public name, in lower case with hyphens. Its meaning never changes.
        rank: Orders findings of one severity that do not explain each other: the lower, the nearer to the root.
        explains: Codes of findings that become symptoms of this one, where both are found and this one is at least as severe and
            did not begin later.
        last_resort: True for a problem that is concluded from the absence of any other. Its finding is dropped where another one is
            a warning or worse and does not explain it.

    Example:
        >>> import numpy as np
        >>> from unvanish.diagnose import diagnose
        >>> from unvanish.diagnose.thresholds import Threshold
        >>> from unvanish.record.finding import Severity
        >>> from unvanish.testing import records
        >>> QUIET = Threshold(-3.0, "log10", "convention", "a thousandth of the usual deviation", sure=-6.0)
        >>> class QuietLayer(Rule):
        ...     code, rank, explains = "quiet-layer", 47, frozenset({"loss-not-decreasing"})
        ...
        ...     def examine(self, view):
        ...         size = np.log10(view.late_median("activation_std"))  # (sites,), NaN where it was never measured
        ...         quiet = [int(i) for i in np.flatnonzero(size <= QUIET.value)]
        ...         if quiet:
        ...             yield Finding(
        ...                 self.code,
        ...                 Severity.WARNING,
        ...                 QUIET.confidence(size[quiet[0]]),
        ...                 "Some layers have next to no output.",
        ...                 "Their output has a thousandth of the usual deviation.",
        ...                 sites=view.site_labels(quiet),
        ...                 evidence=(QUIET.as_evidence("deviation of the output", size[quiet[0]]),),
        ...             )
        >>> run = records.with_reading(records.healthy(), "activation_std", 1e-4, of=[2])
        >>> [(finding.code, finding.sites) for finding in diagnose(run, [QuietLayer()])]
        [('quiet-layer', ('2',))]
        >>> diagnose(records.healthy(), [QuietLayer()])
        []
    """

    code: ClassVar[str]
    rank: ClassVar[int]
    explains: ClassVar[frozenset[str]] = frozenset()
    last_resort: ClassVar[bool] = False

    @abstractmethod
    def examine(self, view: RunView) -> Iterator[Finding]:
        """The findings that the record shows, most severe first; nothing where the problem is absent.

        A rule reads the record and nothing else: it alters no array, keeps no state between calls, draws no random numbers without
        a seed, and does not import torch, so that one record always has the same findings.

        Arguments:
            view: The run, with at least one sampled step and one layer stack. Anything else may be missing: a stack without layers,
                readings that are NaN or infinite, no loss, no trace (`view.run.examination` is None), no heads. Numpy's warnings
                for overflow, invalid values and division by zero are off.

        Yields:
            Findings whose `code` is the rule's own, with a `Severity` and a confidence from 0 to 1, and whose sites are names that
            `view.site_labels` gives or labels of parameters and recurrences.

        Raises:
            Nothing for any record. What `examine` raises ends `diagnose`, or is reported to its `on_fault`.
        """
