"""The pages of the remedies: each card, what races proved, what it treats; and an index by family. It returns text."""

from __future__ import annotations

from collections.abc import Mapping

from unvanish.docgen import stored_races
from unvanish.docgen.entries import DocEntry
from unvanish.docgen.markup import MADE, fact_line, linked, page, sections

REMEDIES = "remedies"
INDEX = f"{REMEDIES}/README.md"
_MADE = MADE.format(source="the cards and verdicts in src/unvanish/remedies")


def remedy_pages(families: Mapping[str, Mapping[str, DocEntry]], findings: Mapping[str, DocEntry]) -> dict[str, str]:
    """Path below docs/ to text: a page for each remedy, and the index. `families` has the leaves by family and name."""
    links = {code: f"../findings/{code}.md" for code in findings}
    made = {f"{REMEDIES}/{name}.md": _remedy(leaf, links) for leaves in families.values() for name, leaf in leaves.items()}
    return made | {INDEX: _index(families)}


def _remedy(leaf: DocEntry, links: Mapping[str, str]) -> str:
    parts = [f"# {leaf.name}", _MADE, *sections(leaf.card)]
    if leaf.raced:
        lines = [f"- **{stored_races.label(raced)}:** {stored_races.told(raced)}" for raced in leaf.raced]
        about = "Against the untouched network, on equal seeds and data; intervals are paired, of 95 %; plain layers are 64 wide."
        parts += ["## Raced", about, "\n".join(lines), f"Again: `{stored_races.AGAIN} {leaf.name}`."]
    facts = [fact_line(fact, links) for fact in leaf.facts if fact.text]
    parts += ["## Its place among the others", "\n".join(facts)] if facts else []
    return page(*parts, f"In the terminal: `unvanish explain {leaf.name}`. [All remedies](README.md).")


def _index(families: Mapping[str, Mapping[str, DocEntry]]) -> str:
    parts = [
        "# What unvanish can do about it",
        _MADE,
        "A remedy is a change to a network, its optimizer or its input that treats findings. Each is applied by name, in place, "
        'and undone bit for bit: `change = unvanish.apply(net, "relu", "he-init")`, `change.undo()`. Each page says what it does, '
        "where it helps, where it harms, what it costs, and what two races on known trainings proved.",
    ]
    for family, leaves in families.items():
        lines = [f"- [{name}]({name}.md): {linked(leaf.card.summary)}" for name, leaf in leaves.items()]
        parts += [f"## {family.capitalize()}", "\n".join(lines)] if lines else []
    return page(*parts, "What they treat: [all findings](../findings/README.md).")
