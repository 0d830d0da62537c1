"""Parses the docstrings of rules and remedies ("cards") into a summary and headed sections."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

RULE_HEADINGS = ("Sees", "Why it matters", "Known problems", "Example", "References")
REMEDY_HEADINGS = ("Does", "Helps", "Harms", "Cost", "References")

_NAMES = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in dict.fromkeys((*RULE_HEADINGS, *REMEDY_HEADINGS)))
# A heading stands at the start of the text, of a line, or after the end of a sentence, so that joined paragraphs are told apart.
_HEADING = re.compile(rf"(?:\A|\n\s*|(?<=[.?!)\"])\s+)({_NAMES}):(?=\s|\Z)")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of a card and its paragraphs, each on one line. The heading is "" for what follows the summary directly."""

    heading: str
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        """The paragraphs joined by blank lines."""
        return "\n\n".join(self.paragraphs)


@dataclass(frozen=True, slots=True)
class Card:
    """The description of a rule or a remedy. `summary` is the first paragraph, on one line."""

    summary: str
    sections: tuple[Section, ...]

    def section(self, heading: str) -> str:
        """The text under a heading; "" where the card has none."""
        return next((section.text for section in self.sections if section.heading == heading), "")


def parse_card(docstring: str | None) -> Card:
    """The card in a docstring, its sections in their order there; an empty card for None.

    Example:
        >>> card = parse_card("Swaps sigmoid for ReLU. Helps: where layers saturate.")
        >>> card.summary, card.section("Helps")
        ('Swaps sigmoid for ReLU.', 'where layers saturate.')
    """
    text = inspect.cleandoc(docstring or "")
    headings = list(_HEADING.finditer(text))
    summary, *unheaded = _split_paragraphs(text[: headings[0].start()] if headings else text) or ("",)
    ends = [match.start() for match in headings[1:]] + [len(text)]
    sections = [
        Section(_join_lines(match[1]), _split_paragraphs(text[match.end() : end]))
        for match, end in zip(headings, ends, strict=False)
    ]
    return Card(summary, (*([Section("", tuple(unheaded))] if unheaded else []), *sections))


def parse_class_card(instance: object) -> Card:
    """The card of a rule or a remedy, from the docstring of its own class; an inherited docstring is not used."""
    return parse_card(type(instance).__dict__.get("__doc__"))


def split_paragraphs(docstring: str | None) -> tuple[str, ...]:
    """The paragraphs of a docstring in the author's order, each on one line."""
    return _split_paragraphs(inspect.cleandoc(docstring or ""))


def _split_paragraphs(text: str) -> tuple[str, ...]:
    return tuple(_join_lines(part) for part in re.split(r"\n\s*\n", text) if part.strip())


def _join_lines(text: str) -> str:
    return " ".join(text.split())
