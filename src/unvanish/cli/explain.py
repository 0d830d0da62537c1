"""unvanish explain and unvanish list: the cards of rules and remedies, and lists of rules, remedies and engines."""

from __future__ import annotations

import difflib
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from unvanish.cli.output import require_writable, write_json
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

    from unvanish.docgen import build_remedy_entries, build_rule_entries, find_treatments
    from unvanish.docgen.terminal import print_without_trailing_blanks, render_entry, render_fact

    console = Console(highlight=False)
    rules = build_rule_entries()
    if name in rules:
        print_without_trailing_blanks(console, render_entry(rules[name]))
        treatment = find_treatments(name)  # asked for last: it imports torch, and the card need not wait for that
        if treatment.text:
            print_without_trailing_blanks(console, render_fact(treatment))
        return 0
    remedies = build_remedy_entries()
    if name not in remedies:
        _refuse(name, [*rules, *remedies])
    print_without_trailing_blanks(console, render_entry(remedies[name]))
    return 0


def listing(
    kind: Annotated[ListedKind, typer.Argument(metavar="shelf", help="What to list.")],
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the list as JSON; - is standard output.")] = None,
) -> int:
    """List the rules, the remedies or the engines, each with a line that says what it is."""
    from unvanish.docgen import build_engine_entries, build_remedy_entries, build_rule_entries
    from unvanish.docgen.terminal import format_list, render_list

    require_writable(json)
    builders = {
        ListedKind.RULES: build_rule_entries,
        ListedKind.REMEDIES: build_remedy_entries,
        ListedKind.ENGINES: build_engine_entries,
    }
    entries = list(builders[kind]().values())
    if json is not None:
        write_json(json, [_to_json(entry) for entry in entries])
        return 0
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(render_list(entries))
    else:
        print(format_list(entries))
    return 0


def _to_json(entry: DocEntry) -> dict[str, str]:
    """What the list says of a rule, a remedy or an engine as JSON; one that comes from a plugin names its package."""
    return {"name": entry.name, "summary": entry.card.summary} | ({"package": entry.package} if entry.is_from_plugin else {})


def _refuse(name: str, known: list[str]) -> NoReturn:
    close = difflib.get_close_matches(name.lower().replace("_", "-"), known, n=1)
    hint = f"did you mean {close[0]}?" if close else "unvanish list rules and unvanish list remedies name them all"
    raise UsageError(f"there is no finding or remedy called {name}; {hint}")
