"""Rules by entry point: those of other packages, and the built-in ones, which enter by the same door.

A package adds rules under `[project.entry-points."unvanish.rules"]`: each name stands for a Rule class, a Rule, or a function that
gives several. A plugin that is broken is left out with one line on standard error, and never ends a run. Nothing here is loaded
before a run is diagnosed or the rules are asked for, and nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import EntryPoint
from typing import final

from unvanish import diagnose as room
from unvanish.diagnose.rule import Rule
from unvanish.plugins.entry_points import PluginGroup, PluginRegistry, said_by, say
from unvanish.record.finding import Finding
from unvanish.record.run import Run


@final
class Panel:
    """The rules of some entry points, the nearest to a root first; one that fails on a run is left out of that diagnosis, and said.

    `packages` tells which package each code comes from. `say` gets a line for each plugin that cannot be used, once.
    """

    def __init__(self, entries: Iterable[EntryPoint], *, say: Callable[[str], None]) -> None:
        self._admission = PluginRegistry(RULES, entries, say=say)
        self.rules = tuple(sorted(self._admission.things.values(), key=lambda rule: rule.rank))
        self.packages = self._admission.packages

    def diagnose(self, run: Run) -> list[Finding]:
        """The findings of a run by all of these rules; one that fails is left out."""
        return room.diagnose(run, self.rules, on_fault=self._failed)

    def _failed(self, rule: Rule, fault: Exception) -> None:
        package = self.packages[rule.code]
        why = f"it failed on this run ({said_by(fault)})"
        self._admission.leave_out(f"the rule {rule.code} of {package}", why, package=package)


def diagnose(run: Run) -> list[Finding]:
    """The findings of a run by every rule that is installed, the root first, symptoms folded under what causes them."""
    return panel().diagnose(run)


@cache
def panel() -> Panel:
    """The panel of this process: every rule that is installed, loaded when first asked for. What is left out is said there."""
    return Panel(RULES.installed(), say=say)


def _flaw(rule: Rule) -> str:
    found: dict[str, object] = {name: getattr(rule, name, None) for name in ("rank", "explains")}
    if isinstance(found["rank"], int) and isinstance(found["explains"], frozenset):
        return ""
    return f"{type(rule).__qualname__} must have a rank that is an int, and a frozenset of the codes that it explains"


RULES = PluginGroup(
    EntryPoint("built-in", "unvanish.diagnose.rules:built_in", "unvanish.rules"),
    Rule,
    noun="rule",
    key="code",
    example="stale-gradient",
    flaw=_flaw,
)
