"""Builds a documentation entry for each installed rule, remedy and engine: its card, related names, thresholds and stored races."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unvanish.diagnose.rule import Rule
from unvanish.diagnose.thresholds import Threshold
from unvanish.docgen.cards import Card, parse_class_card
from unvanish.docgen.finding_groups import find_group
from unvanish.docgen.stored_races import load_stored_races
from unvanish.plugins import engines
from unvanish.plugins.entry_points import OWN_PACKAGE
from unvanish.plugins.remedies import registry
from unvanish.plugins.rules import RuleSet, installed_rules
from unvanish.record.races.stored_race import StoredRace

if TYPE_CHECKING:
    from unvanish.remedies import Remedy


@dataclass(frozen=True, slots=True)
class Fact:
    """A relation of an entry to others: a label, the names of findings or remedies, and a note."""

    label: str
    names: tuple[str, ...] = ()
    note: str = ""

    @property
    def text(self) -> str:
        """Names and note as one line; "" where there are none."""
        return "; ".join(part for part in (", ".join(self.names), self.note) if part)


@dataclass(frozen=True, slots=True)
class DocEntry:
    """The documentation of one rule, remedy or engine.

    Arguments:
        kind: what it is in a few words, such as "a remedy of the family activation".
        package: the distribution that it comes from.
        facts: its relations to other entries.
        thresholds: name and threshold of those that a rule uses.
        races: what stored races proved about a remedy.
    """

    name: str
    kind: str
    package: str
    card: Card
    facts: tuple[Fact, ...] = ()
    thresholds: tuple[tuple[str, Threshold], ...] = ()
    races: tuple[StoredRace, ...] = ()

    @property
    def is_from_plugin(self) -> bool:
        """Whether it comes from a plugin and not from unvanish itself."""
        return self.package != OWN_PACKAGE


def build_rule_entries(among: RuleSet | None = None) -> dict[str, DocEntry]:
    """An entry for each installed rule, by code, those nearest to a root cause first."""
    installed = installed_rules() if among is None else among
    return {rule.code: build_rule_entry(rule, installed.rules, package=installed.packages[rule.code]) for rule in installed.rules}


def build_rule_entry(rule: Rule, rules: Iterable[Rule], *, package: str = OWN_PACKAGE) -> DocEntry:
    """The entry of one rule; the other rules tell by which findings it is explained."""
    group = find_group(rule.code)
    explained_by = tuple(other.code for other in rules if rule.code in other.explains)
    facts = (
        Fact("Explains", tuple(sorted(rule.explains))),
        Fact("Explained by", explained_by, "any other finding that is a warning or worse" if rule.last_resort else ""),
    )
    kind = f"a finding of the group {group}" if group else "a finding"
    return DocEntry(rule.code, kind, package, parse_class_card(rule), facts, find_thresholds(rule))


def find_thresholds(rule: Rule) -> tuple[tuple[str, Threshold], ...]:
    """The thresholds that the rule's own module imports by name; those that it uses through other modules are not found."""
    module = sys.modules.get(type(rule).__module__)
    namespace = vars(module) if module is not None else {}
    return tuple((name, value) for name, value in namespace.items() if isinstance(value, Threshold))


def build_remedy_entries() -> dict[str, DocEntry]:
    """An entry for each installed remedy, by name, our own first; empty on a machine without torch, which remedies need."""
    if importlib.util.find_spec("torch") is None:
        return {}
    installed = registry()
    return {name: build_remedy_entry(remedy, package=installed.packages[name]) for name, remedy in installed.plugins.items()}


def build_remedy_entry(remedy: Remedy, *, package: str = OWN_PACKAGE) -> DocEntry:
    """The entry of one remedy."""
    kind = f"a remedy of the family {remedy.family}"
    facts = (Fact("Treats", tuple(remedy.treats)),)
    races = load_stored_races(remedy.name) if package == OWN_PACKAGE else ()
    return DocEntry(remedy.name, kind, package, parse_class_card(remedy), facts, races=races)


def build_engine_entries() -> dict[str, DocEntry]:
    """An entry for each installed engine, by name, our own first. Its card is its one-line summary."""
    installed = engines.registry()
    cards = {
        name: Card(f"{kind.summary[:1].upper()}{kind.summary[1:].rstrip('.')}.", ()) for name, kind in installed.plugins.items()
    }
    return {name: DocEntry(name, "an engine", installed.packages[name], card) for name, card in cards.items()}


def find_treatments(code: str, among: Mapping[str, DocEntry] | None = None) -> Fact:
    """The remedies that treat a finding, by default of all that are installed."""
    entries = (build_remedy_entries() if among is None else among).values()
    return Fact("Remedies", tuple(entry.name for entry in entries if any(code in fact.names for fact in entry.facts)))
