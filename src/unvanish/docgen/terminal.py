"""Leaves in the terminal: a card under its headings, a shelf as a list. It never reads a run."""

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

WIDEST = 120  # lines beyond this are hard to read
FACT_CELLS = 12


def render(leaf: DocEntry) -> RenderableType:
    """The whole leaf: its name, its card, what races proved, its thresholds, and what it is tied to."""
    parts: list[RenderableType] = [Text(leaf.name, "bold"), Text(_origin(leaf), "dim"), "", prose(leaf.card.summary)]
    for section in leaf.card.sections:
        parts += ["", Text(section.heading, "bold")] if section.heading else [""]
        for number, paragraph in enumerate(section.paragraphs):
            parts += [""] if number else []
            parts.append(Padding(prose(sentence(paragraph)), (0, 0, 0, 2)))
    if leaf.raced:
        parts += ["", Text("Raced", "bold"), Padding(_raced(leaf), (0, 0, 0, 2))]
    if leaf.thresholds:
        parts += ["", Text("Thresholds", "bold"), Padding(_thresholds(leaf.thresholds), (0, 0, 0, 2))]
    if any(fact.text for fact in leaf.facts):
        parts += ["", *(render_fact(fact) for fact in leaf.facts if fact.text)]
    return Constrain(Group(*parts), WIDEST)


def render_fact(fact: Fact) -> RenderableType:
    """One line, or as many as its names need, under its label."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", width=FACT_CELLS, no_wrap=True)
    grid.add_column()
    grid.add_row(fact.label, Text(fact.text))
    return Constrain(grid, WIDEST)


def render_list(leaves: Iterable[DocEntry]) -> RenderableType:
    """A line for each: its name, what it is, and the package of one that comes from a plugin. Lines that are too long are cut."""
    listed = list(leaves)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True, min_width=max((len(leaf.name) for leaf in listed), default=0))
    grid.add_column()
    for leaf in listed:
        mark = (f"[{leaf.package}] " if leaf.foreign else "", "cyan")
        grid.add_row(leaf.name, Text.assemble(mark, leaf.card.summary, no_wrap=True, overflow="ellipsis"))
    return grid


def plain_list(leaves: Iterable[DocEntry]) -> str:
    """The same for a file or a pipe: uncut, one line each."""
    listed = list(leaves)
    width = max((len(leaf.name) for leaf in listed), default=0)
    return "\n".join(f"{leaf.name:<{width}}  {f'[{leaf.package}] ' if leaf.foreign else ''}{leaf.card.summary}" for leaf in listed)


def show(console: Console, shown: RenderableType) -> None:
    """Prints to a console; to one that is no terminal, without the blanks that fill up its lines."""
    if console.is_terminal:
        console.print(shown)
        return
    with console.capture() as said:
        console.print(shown)
    console.file.write("".join(f"{line.rstrip()}\n" for line in said.get().splitlines()))


def prose(text: str) -> Text:
    """Text in which what stands between backticks is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without its fellow
        return Text(text)
    return Text.assemble(*((part, "cyan" if number % 2 else "") for number, part in enumerate(parts)))


def sentence(text: str) -> str:
    """Text that stood behind a heading on one line, with the capital of a sentence that begins one."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+(-[a-z]+)*[\s,;]", text) else text


def figure(threshold: Threshold) -> str:
    """A threshold's number and unit, and from where on it leaves no doubt."""
    sure = f", sure from {threshold.sure:g}" if threshold.sure is not None else ""
    return f"{threshold.value:g} {threshold.unit}{sure}"


def _thresholds(thresholds: Iterable[tuple[str, Threshold]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for name, threshold in thresholds:
        grid.add_row(name, Text(f"{figure(threshold)}. {threshold.origin.capitalize()}: {threshold.source}"))
    return grid


def _raced(leaf: DocEntry) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(max_width=FACT_CELLS)
    grid.add_column()
    for raced in leaf.raced:
        grid.add_row(Text(stored_races.label(raced)), Text(stored_races.told(raced)))
    grid.add_row("", Text(f"Against the untouched network, 95 % intervals. Again: {stored_races.AGAIN} {leaf.name}", "dim"))
    return grid


def _origin(leaf: DocEntry) -> str:
    return f"{leaf.kind}, from the plugin {leaf.package}" if leaf.foreign else leaf.kind
