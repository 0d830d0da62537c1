"""Builds the Markdown pages of the remedies (card, stored races, treated findings) and their index by family."""

from __future__ import annotations

from collections.abc import Mapping

from unvanish.docgen import stored_races
from unvanish.docgen.entries import DocEntry
from unvanish.docgen.markup import GENERATED_NOTICE, format_fact, format_sections, join_page, link_papers

REMEDIES = "remedies"
INDEX = f"{REMEDIES}/README.md"
_NOTICE = GENERATED_NOTICE.format(source="the cards and verdicts in src/unvanish/remedies")


def build_remedy_pages(families: Mapping[str, Mapping[str, DocEntry]], findings: Mapping[str, DocEntry]) -> dict[str, str]:
    """A page for each remedy and the index, by path below docs/.

    Arguments:
        families: remedies by family and name.
        findings: the findings that have a page, by code.
    """
    links = {code: f"../findings/{code}.md" for code in findings}
    pages = {f"{REMEDIES}/{name}.md": _build_page(entry, links) for entries in families.values() for name, entry in entries.items()}
    return pages | {INDEX: _build_index(families)}


def _build_page(entry: DocEntry, links: Mapping[str, str]) -> str:
    parts = [f"# {entry.name}", _NOTICE, *format_sections(entry.card)]
    if entry.races:
        lines = [f"- **{stored_races.format_outcome(race)}:** {stored_races.describe_race(race)}" for race in entry.races]
        about = "Against the untouched network, on equal seeds and data; intervals are paired, of 95 %; plain layers are 64 wide."
        parts += ["## Raced", about, "\n".join(lines), f"Again: `{stored_races.REPRODUCE_COMMAND} {entry.name}`."]
    facts = [format_fact(fact, links) for fact in entry.facts if fact.text]
    parts += ["## Its place among the others", "\n".join(facts)] if facts else []
    return join_page(*parts, f"In the terminal: `unvanish explain {entry.name}`. [All remedies](README.md).")


def _build_index(families: Mapping[str, Mapping[str, DocEntry]]) -> str:
    parts = [
        "# What unvanish can do about it",
        _NOTICE,
        "A remedy is a change to a network, its optimizer or its input that treats findings. Each is applied by name, in place, "
        'and undone bit for bit: `change = unvanish.apply(net, "relu", "he-init")`, `change.undo()`. Each page says what it does, '
        "where it helps, where it harms, what it costs, and what two races on known trainings proved.",
    ]
    for family, entries in families.items():
        lines = [f"- [{name}]({name}.md): {link_papers(entry.card.summary)}" for name, entry in entries.items()]
        parts += [f"## {family.capitalize()}", "\n".join(lines)] if lines else []
    return join_page(*parts, "What they treat: [all findings](../findings/README.md).")
