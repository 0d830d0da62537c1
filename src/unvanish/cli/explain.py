"""unvanish explain and unvanish list: the cards of findings and remedies as their classes have them, and the engines."""

from __future__ import annotations

import difflib
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from unvanish.cli.output import put_json, require_place
from unvanish.errors import UsageError

if TYPE_CHECKING:
    from unvanish.docgen import DocEntry


class ListedKind(StrEnum):
    """What can be listed."""

    RULES = "rules"
    REMEDIES = "remedies"
    ENGINES = "engines"


def explain(name: Annotated[str, typer.Argument(metavar="CODE", help="A finding's code, or a remedy's name.")]) -> int:
    """Say what a finding means, or what a remedy does, when it helps and when it harms."""
    from rich.console import Console

    from unvanish.docgen import remedy_leaves, rule_leaves, treated_by
    from unvanish.docgen.terminal import render, render_fact, show

    console = Console(highlight=False)
    rules = rule_leaves()
    if name in rules:
        show(console, render(rules[name]))
        treatment = treated_by(name)  # asked for last: it imports torch, and the card need not wait for that
        if treatment.text:
            show(console, render_fact(treatment))
        return 0
    remedies = remedy_leaves()
    if name not in remedies:
        _refuse(name, [*rules, *remedies])
    show(console, render(remedies[name]))
    return 0


def listing(
    catalogue: Annotated[ListedKind, typer.Argument(help="What to list.")],
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the list as JSON; - is standard output.")] = None,
) -> int:
    """List the rules, the remedies or the engines, each with a line that says what it is."""
    from unvanish.docgen import engine_leaves, remedy_leaves, rule_leaves
    from unvanish.docgen.terminal import plain_list, render_list

    require_place(json)
    shelves = {ListedKind.RULES: rule_leaves, ListedKind.REMEDIES: remedy_leaves, ListedKind.ENGINES: engine_leaves}
    leaves = list(shelves[catalogue]().values())
    if json is not None:
        put_json(json, [_entry(leaf) for leaf in leaves])
        return 0
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(render_list(leaves))
    else:
        print(plain_list(leaves))
    return 0


def _entry(leaf: DocEntry) -> dict[str, str]:
    """What the list says of a rule, a remedy or an engine as JSON; one that comes from a plugin names its package."""
    return {"name": leaf.name, "summary": leaf.card.summary} | ({"package": leaf.package} if leaf.foreign else {})


def _refuse(name: str, known: list[str]) -> NoReturn:
    close = difflib.get_close_matches(name.lower().replace("_", "-"), known, n=1)
    hint = f"did you mean {close[0]}?" if close else "unvanish list rules and unvanish list remedies name them all"
    raise UsageError(f"there is no finding or remedy called {name}; {hint}")
