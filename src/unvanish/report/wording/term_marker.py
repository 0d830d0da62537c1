"""Marks glossary terms in text as HTML, each at its first occurrence on the page; their meaning shows on hover and focus."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from unvanish.report.wording.glossary import TERMS, Term
from unvanish.report.wording.numbers import typeset


class TermMarker:
    """Marks each glossary term once on one page. Pass the page's texts to `mark` in the order in which they are read.

    Example:
        >>> terms = TermMarker((Term("loss", "loss", ("loss",), "The error."),))
        >>> "tooltip" in terms.mark("The loss falls."), "tooltip" in terms.mark("The loss rises.")
        (True, False)
    """

    def __init__(self, terms: tuple[Term, ...] = TERMS) -> None:
        self._terms = {form.lower(): term for term in terms for form in term.forms}
        longest_first = sorted(self._terms, key=lambda form: (-len(form), form))
        self._pattern = re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-]|\.\w)", re.IGNORECASE)
        self._marked: dict[str, Term] = {}

    def mark(self, text: str) -> Markup:
        """The text escaped for HTML, its numbers typeset, and every term marked that this page has not marked before."""
        parts: list[Markup] = []
        position = 0
        for match in self._pattern.finditer(text):
            term = self._terms[match.group().lower()]
            if term.key in self._marked:
                continue
            self._marked[term.key] = term
            parts += [escape(typeset(text[position : match.start()])), _term_markup(match.group(), term)]
            position = match.end()
        return Markup("").join([*parts, escape(typeset(text[position:]))])

    def marked_terms(self) -> list[Term]:
        """The terms that were marked, in alphabetical order, for the glossary of the page."""
        return sorted(self._marked.values(), key=lambda term: term.name.lower())


def _term_markup(words: str, term: Term) -> Markup:
    return Markup(
        '<span class="term" tabindex="0" aria-describedby="tip-{key}">{words}'
        '<span class="tip" role="tooltip" id="tip-{key}">{meaning}</span></span>'
    ).format(key=term.key, words=words, meaning=term.meaning)
