"""The pages of docs/, made from the cards and the one table of thresholds. It returns text; only `write` touches the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unvanish.diagnose.rules import built_in
from unvanish.diagnose.thresholds import Threshold, table
from unvanish.diagnose.thresholds import __doc__ as about_thresholds
from unvanish.docgen.entries import DocEntry, Fact, remedy_leaf, rule_leaf, treated_by
from unvanish.docgen.finding_groups import GROUPS
from unvanish.docgen.markup import MADE, fact_line, linked, page, sections
from unvanish.docgen.remedy_pages import REMEDIES, remedy_pages

FINDINGS = "findings"
INDEX, THRESHOLDS = f"{FINDINGS}/README.md", "thresholds.md"
_MADE = MADE.format(source="the cards in src/unvanish/diagnose")


def pages() -> dict[str, str]:
    """Every page of the built-in rules and remedies: path below docs/ to text. The same cards give the same bytes."""
    from unvanish.remedies import built_in_catalogue
    from unvanish.remedies.base import FAMILIES

    rules, catalogue = built_in(), built_in_catalogue()
    leaves = {rule.code: rule_leaf(rule, rules) for rule in rules}
    remedies = {name: remedy_leaf(remedy) for name, remedy in catalogue.items()}
    families = {f: {name: leaf for name, leaf in remedies.items() if catalogue[name].family == f} for f in FAMILIES}
    links = {code: f"{code}.md" for code in leaves} | {name: f"../{REMEDIES}/{name}.md" for name in remedies}
    made = {f"{FINDINGS}/{code}.md": _finding(leaf, treated_by(code, remedies), links) for code, leaf in leaves.items()}
    return made | {INDEX: _index(leaves), THRESHOLDS: _thresholds(leaves)} | remedy_pages(families, leaves)


def write(folder: Path) -> list[Path]:
    """Writes all pages below `folder`, takes away those of rules and remedies that are no more, and says which files it wrote."""
    made = {folder / path: text for path, text in pages().items()}
    for name in (FINDINGS, REMEDIES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for stale in set((folder / name).glob("*.md")) - set(made):
            stale.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    return sorted(made)


def _finding(leaf: DocEntry, treatment: Fact, links: Mapping[str, str]) -> str:
    parts = [f"# {leaf.name}", _MADE, *sections(leaf.card)]
    facts = [fact_line(fact, links) for fact in (*leaf.facts, treatment) if fact.text]
    parts += ["## Its place among the others", "\n".join(facts)] if facts else []
    if leaf.thresholds:
        parts += ["## Thresholds", _table(leaf.thresholds), "[All thresholds](../thresholds.md)"]
    return page(*parts, f"In the terminal: `unvanish explain {leaf.name}`. [All findings](README.md).")


def _index(leaves: Mapping[str, DocEntry]) -> str:
    """The findings by group; what no group lists stands at the end, so that none is lost."""
    grouped = {group: [code for code in codes if code in leaves] for group, codes in GROUPS.items()}
    grouped["others"] = [code for code in leaves if not any(code in codes for codes in GROUPS.values())]
    parts = [
        "# What unvanish finds",
        _MADE,
        "A finding is a named problem with its place, its cause and its evidence. Each page says what the rule sees, why that "
        "matters, where it errs, and by which [thresholds](../thresholds.md) it goes.",
    ]
    for group, codes in grouped.items():
        if codes:
            lines = [f"- [{code}]({code}.md): {linked(leaves[code].card.summary)}" for code in codes]
            parts += [f"## {group.capitalize()}", "\n".join(lines)]
    return page(*parts)


def _thresholds(leaves: Mapping[str, DocEntry]) -> str:
    _, *about = (about_thresholds or "").strip().split("\n\n")
    users = {
        name: ", ".join(f"[{code}]({FINDINGS}/{code}.md)" for code in sorted(leaves) if name in dict(leaves[code].thresholds))
        for name in table()
    }
    rows = [
        f"| `{name}` | {each.value:g} | {_sure(each)} | {each.unit} | {each.origin} | {_cell(each.source)} | {users[name]} |"
        for name, each in table().items()
    ]
    parts = [
        "# Thresholds",
        _MADE,
        "Every number that a rule goes by. `sure` is the value from which on there is no doubt; between the two, confidence grows.",
        *(" ".join(paragraph.split()) for paragraph in about),
        "\n".join(
            ["| name | value | sure | unit | origin | source | used by |", "| --- | ---: | ---: | --- | --- | --- | --- |", *rows]
        ),
    ]
    return page(*parts)


def _table(thresholds: tuple[tuple[str, Threshold], ...]) -> str:
    rows = [
        f"| `{name}` | {each.value:g} | {_sure(each)} | {each.unit} | {each.origin} | {_cell(each.source)} |"
        for name, each in thresholds
    ]
    return "\n".join(["| name | value | sure | unit | origin | source |", "| --- | ---: | ---: | --- | --- | --- |", *rows])


def _sure(threshold: Threshold) -> str:
    return "" if threshold.sure is None else f"{threshold.sure:g}"


def _cell(text: str) -> str:
    return linked(text.replace("|", r"\|"))
