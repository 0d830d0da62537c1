"""Renders documentation entries for the terminal: one entry with its card under headings, or a list of entries."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unvanish.diagnose.thresholds import Threshold
from unvanish.docgen import stored_races
from unvanish.docgen.entries import DocEntry, Fact

MAX_WIDTH = 120  # lines beyond this are hard to read
LABEL_WIDTH = 12


def render_entry(entry: DocEntry) -> RenderableType:
    """The whole entry: name, card, what races proved, thresholds, and relations to other entries."""
    parts: list[RenderableType] = [
        Text(entry.name, "bold"),
        Text(_format_origin(entry), "dim"),
        "",
        highlight_code(entry.card.summary),
    ]
    for section in entry.card.sections:
        parts += ["", Text(section.heading, "bold")] if section.heading else [""]
        for number, paragraph in enumerate(section.paragraphs):
            parts += [""] if number else []
            parts.append(Padding(highlight_code(capitalise_sentence(paragraph)), (0, 0, 0, 2)))
    if entry.races:
        parts += ["", Text("Raced", "bold"), Padding(_build_race_table(entry), (0, 0, 0, 2))]
    if entry.thresholds:
        parts += ["", Text("Thresholds", "bold"), Padding(_build_threshold_table(entry.thresholds), (0, 0, 0, 2))]
    if any(fact.text for fact in entry.facts):
        parts += ["", *(render_fact(fact) for fact in entry.facts if fact.text)]
    return Constrain(Group(*parts), MAX_WIDTH)


def render_fact(fact: Fact) -> RenderableType:
    """A relation as a labelled line, wrapped where its names need more."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", width=LABEL_WIDTH, no_wrap=True)
    grid.add_column()
    grid.add_row(fact.label, Text(fact.text))
    return Constrain(grid, MAX_WIDTH)


def render_list(entries: Iterable[DocEntry]) -> RenderableType:
    """A line for each entry: name, package where it comes from a plugin, and summary. Lines that are too long are cut."""
    entries = list(entries)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True, min_width=max((len(entry.name) for entry in entries), default=0))
    grid.add_column()
    for entry in entries:
        mark = (f"[{entry.package}] " if entry.is_from_plugin else "", "cyan")
        grid.add_row(entry.name, Text.assemble(mark, entry.card.summary, no_wrap=True, overflow="ellipsis"))
    return grid


def format_list(entries: Iterable[DocEntry]) -> str:
    """The list as plain text for a file or a pipe: one uncut line for each entry."""
    entries = list(entries)
    width = max((len(entry.name) for entry in entries), default=0)
    return "\n".join(
        f"{entry.name:<{width}}  {f'[{entry.package}] ' if entry.is_from_plugin else ''}{entry.card.summary}" for entry in entries
    )


def print_without_trailing_blanks(console: Console, renderable: RenderableType) -> None:
    """Prints to a console; where that is not a terminal, without the blanks that rich fills lines with."""
    if console.is_terminal:
        console.print(renderable)
        return
    with console.capture() as capture:
        console.print(renderable)
    console.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def highlight_code(text: str) -> Text:
    """The text with everything between backticks coloured as code, and without the backticks."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # an unpaired backtick
        return Text(text)
    return Text.assemble(*((part, "cyan" if number % 2 else "") for number, part in enumerate(parts)))


def capitalise_sentence(text: str) -> str:
    """The text with a capital first letter where it begins with an ordinary word, as text after a heading on one line does.

    Example:
        >>> capitalise_sentence("the loss."), capitalise_sentence("nn.Linear after it.")
        ('The loss.', 'nn.Linear after it.')
    """
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+(-[a-z]+)*[\s,;]", text) else text


def format_threshold(threshold: Threshold) -> str:
    """A threshold's value and unit, and the value from which a rule is sure."""
    sure = f", sure from {threshold.sure:g}" if threshold.sure is not None else ""
    return f"{threshold.value:g} {threshold.unit}{sure}"


def _build_threshold_table(thresholds: Iterable[tuple[str, Threshold]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for name, threshold in thresholds:
        grid.add_row(name, Text(f"{format_threshold(threshold)}. {threshold.origin.capitalize()}: {threshold.source}"))
    return grid


def _build_race_table(entry: DocEntry) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(max_width=LABEL_WIDTH)
    grid.add_column()
    for race in entry.races:
        grid.add_row(Text(stored_races.format_outcome(race)), Text(stored_races.describe_race(race)))
    grid.add_row(
        "", Text(f"Against the untouched network, 95 % intervals. Again: {stored_races.REPRODUCE_COMMAND} {entry.name}", "dim")
    )
    return grid


def _format_origin(entry: DocEntry) -> str:
    return f"{entry.kind}, from the plugin {entry.package}" if entry.is_from_plugin else entry.kind
