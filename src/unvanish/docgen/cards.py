"""Cards: the docstrings of rules and remedies, read into a first sentence and headed sections. It knows text, and no room."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

OF_A_RULE = ("Sees", "Why it matters", "Known problems", "Example", "References")
OF_A_REMEDY = ("Does", "Helps", "Harms", "Cost", "References")

_NAMES = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in dict.fromkeys((*OF_A_RULE, *OF_A_REMEDY)))
# A heading opens the text, a line, or whatever follows the end of a sentence, so that paragraphs that run together are told apart.
_HEADING = re.compile(rf"(?:\A|\n\s*|(?<=[.?!)\"])\s+)({_NAMES}):(?=\s|\Z)")


@dataclass(frozen=True, slots=True)
class Section:
    """One headed part of a card: its heading, and its paragraphs, each on one line. "" heads what follows the first paragraph."""

    heading: str
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it, a blank line between paragraphs."""
        return "\n\n".join(self.paragraphs)


@dataclass(frozen=True, slots=True)
class Card:
    """What a person reads of a rule or a remedy. `summary` is the first paragraph, on one line."""

    summary: str
    sections: tuple[Section, ...]

    def section(self, heading: str) -> str:
        """The text under a heading; "" where the card has none."""
        return next((section.text for section in self.sections if section.heading == heading), "")


def read(docstring: str | None) -> Card:
    """The card that a docstring holds, its sections in the order in which they stand there; an empty card for none."""
    text = inspect.cleandoc(docstring or "")
    found = list(_HEADING.finditer(text))
    summary, *more = _paragraphs(text[: found[0].start()] if found else text) or ("",)
    ends = [match.start() for match in found[1:]] + [len(text)]
    sections = [Section(_line(match[1]), _paragraphs(text[match.end() : end])) for match, end in zip(found, ends, strict=False)]
    return Card(summary, (*([Section("", tuple(more))] if more else []), *sections))


def card_of(thing: object) -> Card:
    """The card of a rule or a remedy: that of its own class, never one that the class inherits."""
    return read(type(thing).__dict__.get("__doc__"))


def own_paragraphs(docstring: str | None) -> tuple[str, ...]:
    """The paragraphs as the author set them, each on one line."""
    return _paragraphs(inspect.cleandoc(docstring or ""))


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(_line(part) for part in re.split(r"\n\s*\n", text) if part.strip())


def _line(text: str) -> str:
    return " ".join(text.split())
