"""The pages of docs/, made from the cards and the one table of thresholds. It returns text; only `write` touches the disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from unvanish.diagnose.rules import built_in
from unvanish.diagnose.thresholds import Threshold, table
from unvanish.diagnose.thresholds import __doc__ as about_thresholds
from unvanish.handbook.groups import GROUPS
from unvanish.handbook.leaf import Fact, Leaf, rule_leaf, treated_by
from unvanish.handbook.terminal import sentence

FINDINGS = "findings"
INDEX, THRESHOLDS = f"{FINDINGS}/README.md", "thresholds.md"
MADE = "<!-- Made by `make docs` from the cards in src/unvanish/diagnose; change those, not this file. -->"


def pages() -> dict[str, str]:
    """Every page of the built-in rules: path below docs/ to text. The same cards give the same bytes."""
    rules = built_in()
    leaves = {rule.code: rule_leaf(rule, rules) for rule in rules}
    made = {f"{FINDINGS}/{code}.md": _finding(leaf, leaves) for code, leaf in leaves.items()}
    return made | {INDEX: _index(leaves), THRESHOLDS: _thresholds(leaves)}


def write(folder: Path) -> list[Path]:
    """Writes all pages below `folder`, takes away those of rules that are no more, and says which files it wrote."""
    made = {folder / path: text for path, text in pages().items()}
    (folder / FINDINGS).mkdir(parents=True, exist_ok=True)
    for stale in set((folder / FINDINGS).glob("*.md")) - set(made):
        stale.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    return sorted(made)


def _finding(leaf: Leaf, leaves: Mapping[str, Leaf]) -> str:
    parts = [f"# {leaf.name}", MADE, _linked(leaf.card.summary)]
    for section in leaf.card.sections:
        parts += [f"## {section.heading}"] if section.heading else []
        parts += [_linked(sentence(paragraph)) for paragraph in section.paragraphs]
    facts = [_fact(fact, leaves) for fact in (*leaf.facts, treated_by(leaf.name)) if fact.text]
    parts += ["## Its place among the others", "\n".join(facts)] if facts else []
    if leaf.thresholds:
        parts += ["## Thresholds", _table(leaf.thresholds), "[All thresholds](../thresholds.md)"]
    parts.append(f"In the terminal: `unvanish explain {leaf.name}`. [All findings](README.md).")
    return "\n\n".join(parts) + "\n"


def _fact(fact: Fact, leaves: Mapping[str, Leaf]) -> str:
    names = [f"[{name}]({name}.md)" if name in leaves else f"`{name}`" for name in fact.names]
    return f"- **{fact.label}:** {'; '.join(part for part in (', '.join(names), fact.note) if part)}"


def _index(leaves: Mapping[str, Leaf]) -> str:
    """The findings by group; what no group lists stands at the end, so that none is lost."""
    grouped = {group: [code for code in codes if code in leaves] for group, codes in GROUPS.items()}
    grouped["others"] = [code for code in leaves if not any(code in codes for codes in GROUPS.values())]
    parts = [
        "# What unvanish finds",
        MADE,
        "A finding is a named problem with its place, its cause and its evidence. Each page says what the rule sees, why that "
        "matters, where it errs, and by which [thresholds](../thresholds.md) it goes.",
    ]
    for group, codes in grouped.items():
        if codes:
            lines = [f"- [{code}]({code}.md): {_linked(leaves[code].card.summary)}" for code in codes]
            parts += [f"## {group.capitalize()}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _thresholds(leaves: Mapping[str, Leaf]) -> str:
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
        MADE,
        "Every number that a rule goes by. `sure` is the value from which on there is no doubt; between the two, confidence grows.",
        *(" ".join(paragraph.split()) for paragraph in about),
        "\n".join(
            ["| name | value | sure | unit | origin | source | used by |", "| --- | ---: | ---: | --- | --- | --- | --- |", *rows]
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _table(thresholds: tuple[tuple[str, Threshold], ...]) -> str:
    rows = [
        f"| `{name}` | {each.value:g} | {_sure(each)} | {each.unit} | {each.origin} | {_cell(each.source)} |"
        for name, each in thresholds
    ]
    return "\n".join(["| name | value | sure | unit | origin | source |", "| --- | ---: | ---: | --- | --- | --- |", *rows])


def _sure(threshold: Threshold) -> str:
    return "" if threshold.sure is None else f"{threshold.sure:g}"


def _cell(text: str) -> str:
    return _linked(text.replace("|", r"\|"))


def _linked(text: str) -> str:
    """Text in which each arXiv number leads to its paper."""
    return re.sub(r"\barXiv (\d{4}\.\d{4,5})\b", r"[arXiv \1](https://arxiv.org/abs/\1)", text)
