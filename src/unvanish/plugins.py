"""Rules by entry point: those of other packages, and the built-in ones, which enter by the same door.

A package adds rules under `[project.entry-points."unvanish.rules"]`: each name stands for a Rule class, a Rule, or a function that
gives several. A plugin that is broken is left out with one line on standard error, and never ends a run. Nothing here is loaded
before a run is diagnosed or the rules are asked for, and nothing here imports torch.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast, final

from unvanish import diagnose as room
from unvanish.diagnose.rule import Rule
from unvanish.record.finding import Finding
from unvanish.record.run import Run

RULES = "unvanish.rules"
OURS = "unvanish"
BUILT_IN = EntryPoint("built-in", "unvanish.diagnose.rules:built_in", RULES)
KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@final
class Panel:
    """The rules of some entry points, the nearest to a root first, and the owner of what was said of those that were left out.

    `packages` tells which package each code comes from. `say` gets a line for each plugin that cannot be used, once.
    """

    def __init__(self, entries: Iterable[EntryPoint], *, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[str] = set()
        taken: dict[str, Rule] = {}
        packages: dict[str, str] = {}
        for entry in entries:
            package = package_of(entry)
            for rule in self._loaded(entry, package):
                if objection := _objection(rule, packages):
                    self._leave_out(f"a rule of the plugin {package}", objection, _remedy(package))
                else:
                    taken[rule.code], packages[rule.code] = rule, package
        self.rules = tuple(sorted(taken.values(), key=lambda rule: rule.rank))
        self.packages: Mapping[str, str] = packages

    def diagnose(self, run: Run) -> list[Finding]:
        """The findings of a run by all of these rules; one that fails is left out."""
        return room.diagnose(run, self.rules, on_fault=self._failed)

    def _loaded(self, entry: EntryPoint, package: str) -> list[Rule]:
        """The rules behind an entry point; none where it is broken. Our own are never left out: without them all looks healthy."""
        if package == OURS:
            return _offered(entry.load())
        try:
            return _offered(entry.load())
        except (Exception, SystemExit) as fault:
            self._leave_out(f"the plugin {package} ({entry.name} = {entry.value})", _said_by(fault), _remedy(package))
            return []

    def _failed(self, rule: Rule, fault: Exception) -> None:
        package = self.packages[rule.code]
        self._leave_out(f"the rule {rule.code} of {package}", f"it failed on this run ({_said_by(fault)})", _remedy(package))

    def _leave_out(self, what: str, why: str, remedy: str) -> None:
        line = f"{what} is left out: {why}; {remedy}"
        if line not in self._said:
            self._said.add(line)
            self._say(line)


def diagnose(run: Run) -> list[Finding]:
    """The findings of a run by every rule that is installed, the root first, symptoms folded under what causes them."""
    return panel().diagnose(run)


@cache
def panel() -> Panel:
    """The panel of this process: every rule that is installed, loaded when first asked for. What is left out is said there."""
    return Panel(installed(), say=_say)


def installed() -> tuple[EntryPoint, ...]:
    """The entry points of rules: ours first, also where the package was never installed, then those of others by name."""
    others = [entry for entry in entry_points(group=RULES) if entry.value != BUILT_IN.value]
    return (BUILT_IN, *sorted(others, key=lambda entry: (package_of(entry), entry.name)))


def package_of(entry: EntryPoint) -> str:
    """The distribution that an entry point belongs to."""
    if entry.value == BUILT_IN.value:
        return OURS
    return str(entry.dist.name) if entry.dist is not None else entry.value.split(":")[0].split(".")[0]


def _offered(thing: object) -> list[Rule]:
    """The rules that an entry point stands for. Raises TypeError, with what to give, where it stands for something else."""
    if isinstance(thing, type | Rule):
        return [_rule(thing)]
    if not callable(thing):
        raise TypeError(f"it gives {thing!r}, which is no Rule")
    return [_rule(each) for each in cast("Iterable[object]", thing())]


def _rule(thing: object) -> Rule:
    made = thing() if isinstance(thing, type) and issubclass(thing, Rule) else thing
    if not isinstance(made, Rule):
        name = thing.__qualname__ if isinstance(thing, type) else repr(thing)
        raise TypeError(f"it gives {name}, which is no unvanish.diagnose.rule.Rule")
    return made


def _objection(rule: Rule, packages: Mapping[str, str]) -> str:
    """Why a rule cannot join the others; "" where it can."""
    kind = type(rule).__qualname__
    found: dict[str, object] = {name: getattr(rule, name, None) for name in ("code", "rank", "explains")}
    code, rank, explains = found.values()
    if not isinstance(code, str) or not KEBAB.fullmatch(code):
        return f"the code of {kind} is {code!r}, and must be in kebab-case, as in 'stale-gradient'"
    if code in packages:
        return f"the code {code} of {kind} is taken by {packages[code]}"
    if not isinstance(rank, int) or not isinstance(explains, frozenset):
        return f"{kind} must have a rank that is an int, and a frozenset of the codes that it explains"
    return ""


def _said_by(fault: BaseException) -> str:
    return f"{type(fault).__name__}: {fault}".removesuffix(": ")


def _remedy(package: str) -> str:
    if package == OURS:
        return "please report it, with the run's folder"
    return f"update it, tell its authors, or take it out with: pip uninstall {package}"


def _say(line: str) -> None:
    print(f"unvanish: {' '.join(line.split())}", file=sys.stderr)
