"""Rules by entry point: the built-in ones, and those of other packages; and the diagnosis of a run by all of them.

A package adds rules under `[project.entry-points."unvanish.rules"]`: each name stands for a Rule class, a Rule, or a function that
gives several. A plugin that is broken is left out with one line on standard error, and never ends a run. Nothing here is loaded
before a run is diagnosed or the rules are asked for, and nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import EntryPoint
from typing import final

from unvanish import diagnose as diagnosis
from unvanish.diagnose.rule import Rule
from unvanish.plugins.entry_points import PluginGroup, PluginRegistry, describe_fault, warn_on_stderr
from unvanish.record.finding import Finding
from unvanish.record.run import Run


@final
class RuleSet:
    """The rules of some entry points, the nearest to a root first; one that fails on a run is left out of that diagnosis.

    Arguments:
        entries: the entry points to load.
        warn: called with a line for each plugin that cannot be used, once.

    `packages` says which package each code comes from.
    """

    def __init__(self, entries: Iterable[EntryPoint], *, warn: Callable[[str], None]) -> None:
        self._registry = PluginRegistry(RULE_GROUP, entries, warn=warn)
        self.rules = tuple(sorted(self._registry.plugins.values(), key=lambda rule: rule.rank))
        self.packages = self._registry.packages

    def diagnose(self, run: Run) -> list[Finding]:
        """The findings of a run by all of these rules; one that fails is left out."""
        return diagnosis.diagnose(run, self.rules, on_fault=self._on_fault)

    def _on_fault(self, rule: Rule, fault: Exception) -> None:
        package = self.packages[rule.code]
        reason = f"it failed on this run ({describe_fault(fault)})"
        self._registry.leave_out(f"the rule {rule.code} of {package}", reason, package=package)


def diagnose(run: Run) -> list[Finding]:
    """The findings of a run by every rule that is installed, the root first, symptoms grouped under what causes them."""
    return installed_rules().diagnose(run)


@cache
def installed_rules() -> RuleSet:
    """Every rule that is installed, loaded at the first call; what cannot be used is warned of on standard error."""
    return RuleSet(RULE_GROUP.entries(), warn=warn_on_stderr)


def _flaw(rule: Rule) -> str:
    values: dict[str, object] = {name: getattr(rule, name, None) for name in ("rank", "explains")}
    if isinstance(values["rank"], int) and isinstance(values["explains"], frozenset):
        return ""
    return f"{type(rule).__qualname__} must have a rank that is an int, and a frozenset of the codes that it explains"


RULE_GROUP = PluginGroup(
    EntryPoint("built-in", "unvanish.diagnose.rules:built_in", "unvanish.rules"),
    Rule,
    noun="rule",
    key="code",
    example="stale-gradient",
    flaw=_flaw,
)
