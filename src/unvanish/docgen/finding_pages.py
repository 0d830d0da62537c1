"""Builds and writes the pages of docs/: findings, thresholds and remedies, from the docstrings and the table of thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unvanish.diagnose.rules import built_in
from unvanish.diagnose.thresholds import Threshold, all_thresholds
from unvanish.docgen.entries import DocEntry, Fact, build_remedy_entry, build_rule_entry, find_treatments
from unvanish.docgen.finding_groups import GROUPS
from unvanish.docgen.markup import GENERATED_NOTICE, format_fact, format_sections, join_page, link_papers
from unvanish.docgen.remedy_pages import REMEDIES, build_remedy_pages

FINDINGS = "findings"
INDEX, THRESHOLDS = f"{FINDINGS}/README.md", "thresholds.md"
_ABOUT_ORIGINS = (
    '`origin` tells how much a number is worth: "theory" follows from a formula, "published" stands in the paper named, '
    '"calibrated" was set on labelled trainings by `python -m benchmarks.diagnosis`, which says how well the family left out fared '
    'with it, and "convention" is a choice that a person could make otherwise. It decides nothing by itself.'
)
_NOTICE = GENERATED_NOTICE.format(source="the cards in src/unvanish/diagnose")


def build_pages() -> dict[str, str]:
    """Every page of the built-in rules and remedies as text, by path below docs/; the same docstrings give the same bytes."""
    from unvanish.remedies import built_in_catalogue
    from unvanish.remedies.base import FAMILIES

    rules, catalogue = built_in(), built_in_catalogue()
    entries = {rule.code: build_rule_entry(rule, rules) for rule in rules}
    remedies = {name: build_remedy_entry(remedy) for name, remedy in catalogue.items()}
    families = {f: {name: entry for name, entry in remedies.items() if catalogue[name].family == f} for f in FAMILIES}
    links = {code: f"{code}.md" for code in entries} | {name: f"../{REMEDIES}/{name}.md" for name in remedies}
    pages = {
        f"{FINDINGS}/{code}.md": _build_finding_page(entry, find_treatments(code, remedies), links)
        for code, entry in entries.items()
    }
    return (
        pages | {INDEX: _build_index(entries), THRESHOLDS: _build_threshold_page(entries)} | build_remedy_pages(families, entries)
    )


def write_pages(folder: Path) -> list[Path]:
    """Writes all pages below `folder`, deletes those of rules and remedies that no longer exist, and returns the written paths."""
    pages = {folder / path: text for path, text in build_pages().items()}
    for name in (FINDINGS, REMEDIES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for stale in set((folder / name).glob("*.md")) - set(pages):
            stale.unlink()
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    return sorted(pages)


def _build_finding_page(entry: DocEntry, treatment: Fact, links: Mapping[str, str]) -> str:
    parts = [f"# {entry.name}", _NOTICE, *format_sections(entry.card)]
    facts = [format_fact(fact, links) for fact in (*entry.facts, treatment) if fact.text]
    parts += ["## Its place among the others", "\n".join(facts)] if facts else []
    if entry.thresholds:
        parts += ["## Thresholds", _build_threshold_table(entry.thresholds), "[All thresholds](../thresholds.md)"]
    return join_page(*parts, f"In the terminal: `unvanish explain {entry.name}`. [All findings](README.md).")


def _build_index(entries: Mapping[str, DocEntry]) -> str:
    """The index of findings by group; those that no group lists are at the end."""
    grouped = {group: [code for code in codes if code in entries] for group, codes in GROUPS.items()}
    grouped["others"] = [code for code in entries if not any(code in codes for codes in GROUPS.values())]
    parts = [
        "# What unvanish finds",
        _NOTICE,
        "A finding is a named problem with its place, its cause and its evidence. Each page says what the rule sees, why that "
        "matters, where it errs, and by which [thresholds](../thresholds.md) it goes.",
    ]
    for group, codes in grouped.items():
        if codes:
            lines = [f"- [{code}]({code}.md): {link_papers(entries[code].card.summary)}" for code in codes]
            parts += [f"## {group.capitalize()}", "\n".join(lines)]
    return join_page(*parts)


def _build_threshold_page(entries: Mapping[str, DocEntry]) -> str:
    used_by = {
        name: ", ".join(f"[{code}]({FINDINGS}/{code}.md)" for code in sorted(entries) if name in dict(entries[code].thresholds))
        for name in all_thresholds()
    }
    rows = [f"{_format_row(name, threshold)} {used_by[name]} |" for name, threshold in all_thresholds().items()]
    parts = [
        "# Thresholds",
        _NOTICE,
        "Every number that a rule goes by. `sure` is the value from which on there is no doubt; between the two, confidence grows.",
        _ABOUT_ORIGINS,
        "\n".join(
            ["| name | value | sure | unit | origin | source | used by |", "| --- | ---: | ---: | --- | --- | --- | --- |", *rows]
        ),
    ]
    return join_page(*parts)


def _build_threshold_table(thresholds: tuple[tuple[str, Threshold], ...]) -> str:
    rows = [_format_row(name, threshold) for name, threshold in thresholds]
    return "\n".join(["| name | value | sure | unit | origin | source |", "| --- | ---: | ---: | --- | --- | --- |", *rows])


def _format_row(name: str, threshold: Threshold) -> str:
    sure = "" if threshold.sure is None else f"{threshold.sure:g}"
    source = link_papers(threshold.source.replace("|", r"\|"))
    return f"| `{name}` | {threshold.value:g} | {sure} | {threshold.unit} | {threshold.origin} | {source} |"
