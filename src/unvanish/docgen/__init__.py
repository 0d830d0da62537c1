"""What there is to know of each rule and remedy, from their cards: for the terminal and the pages in docs/. It judges no run."""

from unvanish.docgen.entries import DocEntry, Fact, engine_leaves, remedy_leaves, rule_leaf, rule_leaves, treated_by

__all__ = ["DocEntry", "Fact", "engine_leaves", "remedy_leaves", "rule_leaf", "rule_leaves", "treated_by"]
