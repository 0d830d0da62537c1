"""What all pages of docs/ share: sections of a card, facts with links, papers by number. It reads no file."""

from __future__ import annotations

import re
from collections.abc import Mapping

from unvanish.docgen.cards import Card
from unvanish.docgen.entries import Fact
from unvanish.docgen.terminal import sentence

MADE = "<!-- Made by `make docs` from {source}; change those, not this file. -->"


def sections(card: Card) -> list[str]:
    """The paragraphs of a card under its headings, the first sentence before them."""
    parts = [linked(card.summary)]
    for section in card.sections:
        parts += [f"## {section.heading}"] if section.heading else []
        parts += [linked(sentence(paragraph)) for paragraph in section.paragraphs]
    return parts


def fact_line(fact: Fact, pages: Mapping[str, str]) -> str:
    """A fact as an item of a list; a name that has a page leads to it."""
    names = [f"[{name}]({pages[name]})" if name in pages else f"`{name}`" for name in fact.names]
    return f"- **{fact.label}:** {'; '.join(part for part in (', '.join(names), fact.note) if part)}"


def page(*parts: str) -> str:
    """A page of paragraphs."""
    return "\n\n".join(parts) + "\n"


def linked(text: str) -> str:
    """Text in which each arXiv number leads to its paper."""
    return re.sub(r"\barXiv (\d{4}\.\d{4,5})\b", r"[arXiv \1](https://arxiv.org/abs/\1)", text)
