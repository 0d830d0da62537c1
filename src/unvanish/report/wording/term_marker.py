"""Marks the words of the trade in running text, each where it first stands on the page: their meaning shows on hover and focus."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from unvanish.report.wording.glossary import TERMS, Term
from unvanish.report.wording.numbers import typeset


class Underliner:
    """Owner of what has been explained so far on one page. Call it on texts in the order in which they are read."""

    def __init__(self, terms: tuple[Term, ...] = TERMS) -> None:
        self._terms = {form.lower(): term for term in terms for form in term.forms}
        longest_first = sorted(self._terms, key=lambda form: (-len(form), form))
        self._pattern = re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-]|\.\w)", re.IGNORECASE)
        self._seen: dict[str, Term] = {}

    def __call__(self, text: str) -> Markup:
        """The text, safe to stand in HTML, its numbers typeset, and every term that is new to the reader marked."""
        parts: list[Markup] = []
        position = 0
        for match in self._pattern.finditer(text):
            term = self._terms[match.group().lower()]
            if term.key in self._seen:
                continue
            self._seen[term.key] = term
            parts += [escape(typeset(text[position : match.start()])), _marked(match.group(), term)]
            position = match.end()
        return Markup("").join([*parts, escape(typeset(text[position:]))])

    def seen(self) -> list[Term]:
        """The terms that were marked, in alphabetical order: the glossary of this page."""
        return sorted(self._seen.values(), key=lambda term: term.name.lower())


def _marked(words: str, term: Term) -> Markup:
    return Markup(
        '<span class="term" tabindex="0" aria-describedby="tip-{key}">{words}'
        '<span class="tip" role="tooltip" id="tip-{key}">{meaning}</span></span>'
    ).format(key=term.key, words=words, meaning=term.meaning)
