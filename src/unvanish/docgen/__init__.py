"""Builds the documentation of each rule, remedy and engine from its docstring, for the terminal and the pages in docs/."""

from unvanish.docgen.entries import (
    DocEntry,
    Fact,
    build_engine_entries,
    build_remedy_entries,
    build_rule_entries,
    build_rule_entry,
    find_treatments,
)

__all__ = [
    "DocEntry",
    "Fact",
    "build_engine_entries",
    "build_remedy_entries",
    "build_rule_entries",
    "build_rule_entry",
    "find_treatments",
]
