"""One leaf for each rule, remedy and engine: its card, and what stands around it in the house. It draws nothing."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unvanish.diagnose.rule import Rule
from unvanish.diagnose.thresholds import Threshold
from unvanish.docgen.cards import Card, card_of
from unvanish.docgen.finding_groups import group_of
from unvanish.docgen.stored_races import stored
from unvanish.plugins import engines
from unvanish.plugins.entry_points import OURS
from unvanish.plugins.remedies import admission
from unvanish.plugins.rules import Panel, panel
from unvanish.record.stored_race import StoredRace

if TYPE_CHECKING:
    from unvanish.remedies import Remedy


@dataclass(frozen=True, slots=True)
class Fact:
    """What a leaf is tied to: a label, the names of findings or remedies, and what no list of names can say."""

    label: str
    names: tuple[str, ...] = ()
    note: str = ""

    @property
    def text(self) -> str:
        """Names and note as one line; "" where there is nothing to say."""
        return "; ".join(part for part in (", ".join(self.names), self.note) if part)


@dataclass(frozen=True, slots=True)
class DocEntry:
    """All that is known of one rule, remedy or engine. `kind` says in a few words what it is, `package` where it comes from.

    `raced` is what stored races proved about a remedy.
    """

    name: str
    kind: str
    package: str
    card: Card
    facts: tuple[Fact, ...] = ()
    thresholds: tuple[tuple[str, Threshold], ...] = ()
    raced: tuple[StoredRace, ...] = ()

    @property
    def foreign(self) -> bool:
        """Whether it comes from a plugin."""
        return self.package != OURS


def rule_leaves(among: Panel | None = None) -> dict[str, DocEntry]:
    """A leaf for each rule that is installed, by code, the nearest to a root first."""
    given = panel() if among is None else among
    return {rule.code: rule_leaf(rule, given.rules, package=given.packages[rule.code]) for rule in given.rules}


def rule_leaf(rule: Rule, rules: Iterable[Rule], *, package: str = OURS) -> DocEntry:
    """The leaf of one rule among others."""
    group = group_of(rule.code)
    by = tuple(other.code for other in rules if rule.code in other.explains)
    facts = (
        Fact("Explains", tuple(sorted(rule.explains))),
        Fact("Explained by", by, "any other finding that is a warning or worse" if rule.last_resort else ""),
    )
    kind = f"a finding of the group {group}" if group else "a finding"
    return DocEntry(rule.code, kind, package, card_of(rule), facts, thresholds_of(rule))


def thresholds_of(rule: Rule) -> tuple[tuple[str, Threshold], ...]:
    """The thresholds that the rule's own module names; those that it reaches only through other modules cannot be told."""
    module = sys.modules.get(type(rule).__module__)
    named = vars(module) if module is not None else {}
    return tuple((name, value) for name, value in named.items() if isinstance(value, Threshold))


def remedy_leaves() -> dict[str, DocEntry]:
    """A leaf for each remedy that is installed, by name, ours first; none on a machine without torch, which remedies need."""
    if importlib.util.find_spec("torch") is None:
        return {}
    here = admission()
    return {name: remedy_leaf(remedy, package=here.packages[name]) for name, remedy in here.things.items()}


def remedy_leaf(remedy: Remedy, *, package: str = OURS) -> DocEntry:
    """The leaf of one remedy."""
    kind = f"a remedy of the family {remedy.family}"
    facts = (Fact("Treats", tuple(remedy.treats)),)
    return DocEntry(remedy.name, kind, package, card_of(remedy), facts, raced=stored(remedy.name) if package == OURS else ())


def engine_leaves() -> dict[str, DocEntry]:
    """A leaf for each engine that is installed, by name, ours first. An engine has a line in place of a card."""
    here = engines.admission()
    kinds = {name: Card(f"{kind.summary[:1].upper()}{kind.summary[1:].rstrip('.')}.", ()) for name, kind in here.things.items()}
    return {name: DocEntry(name, "an engine", here.packages[name], card) for name, card in kinds.items()}


def treated_by(code: str, among: Mapping[str, DocEntry] | None = None) -> Fact:
    """The remedies that treat a finding, by default among all that are installed."""
    leaves = (remedy_leaves() if among is None else among).values()
    return Fact("Remedies", tuple(leaf.name for leaf in leaves if any(code in fact.names for fact in leaf.facts)))
