"""Formats the Markdown that all pages of docs/ share: sections of a card, facts with links, and links to papers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from unvanish.docgen.cards import Card
from unvanish.docgen.entries import Fact
from unvanish.docgen.terminal import capitalise_sentence

GENERATED_NOTICE = "<!-- Made by `make docs` from {source}; change those, not this file. -->"


def format_sections(card: Card) -> list[str]:
    """The Markdown blocks of a card: its summary, then each heading with its paragraphs."""
    parts = [link_papers(card.summary)]
    for section in card.sections:
        parts += [f"## {section.heading}"] if section.heading else []
        parts += [link_papers(capitalise_sentence(paragraph)) for paragraph in section.paragraphs]
    return parts


def format_fact(fact: Fact, pages: Mapping[str, str]) -> str:
    """A fact as a list item, names linked to their pages where they have one."""
    names = [f"[{name}]({pages[name]})" if name in pages else f"`{name}`" for name in fact.names]
    return f"- **{fact.label}:** {'; '.join(part for part in (', '.join(names), fact.note) if part)}"


def join_page(*blocks: str) -> str:
    """The blocks joined to a page, with a blank line between them."""
    return "\n\n".join(blocks) + "\n"


def link_papers(text: str) -> str:
    """The text with a link on every arXiv number.

    Example:
        >>> link_papers("He et al., arXiv 1502.01852")
        'He et al., [arXiv 1502.01852](https://arxiv.org/abs/1502.01852)'
    """
    return re.sub(r"\barXiv (\d{4}\.\d{4,5})\b", r"[arXiv \1](https://arxiv.org/abs/\1)", text)
