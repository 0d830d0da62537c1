"""unvanish explain and unvanish list: the cards of findings and remedies, which are the docstrings of their classes."""

from __future__ import annotations

import difflib
import inspect
import re
from enum import StrEnum
from typing import Annotated

import typer

from unvanish.cli.output import put_json
from unvanish.errors import UsageError

HEADINGS = ("Sees", "Why it matters", "Known problems", "References", "Does", "Helps", "Harms", "Cost")


class Shelf(StrEnum):
    """What can be listed."""

    RULES = "rules"
    REMEDIES = "remedies"


def explain(name: Annotated[str, typer.Argument(metavar="CODE", help="A finding's code, or a remedy's name.")]) -> int:
    """Say what a finding means, or what a remedy does, when it helps and when it harms."""
    cards = {**_rules(), **_remedies()}
    if name not in cards:
        close = difflib.get_close_matches(name, cards, n=1)
        hint = f"did you mean {close[0]}?" if close else "unvanish list rules and unvanish list remedies name them all"
        raise UsageError(f"there is no finding or remedy called {name}; {hint}")
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(name, "bold"))
    for paragraph in _paragraphs(cards[name]):
        console.print()
        console.print(paragraph, markup=False)
    return 0


def listing(
    shelf: Annotated[Shelf, typer.Argument(help="What to list.")],
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the list as JSON; - is standard output.")] = None,
) -> int:
    """List the rules or the remedies, each with a line that says what it is."""
    cards = _rules() if shelf is Shelf.RULES else _remedies()
    rows = [(name, " ".join(card.split("\n\n")[0].split())) for name, card in cards.items()]
    if json is not None:
        put_json(json, [{"name": name, "summary": summary} for name, summary in rows])
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, summary in rows:
        table.add_row(f"[bold]{name}[/bold]", summary)
    Console(highlight=False).print(table)
    return 0


def _paragraphs(card: str) -> list[str]:
    """A card's text, a paragraph for each of its headings, without the line breaks of the source."""
    parts = re.split(rf"\n\n|(?:(?<=\.)\s+|\n)(?=(?:{'|'.join(HEADINGS)}):)", card)
    return [" ".join(part.split()) for part in parts if part.strip()]


def _rules() -> dict[str, str]:
    from unvanish.diagnose.rules import built_in

    return {rule.code: inspect.getdoc(type(rule)) or "" for rule in built_in()}


def _remedies() -> dict[str, str]:
    from unvanish.remedies import names, remedy

    return {name: inspect.getdoc(type(remedy(name))) or "" for name in names()}
