"""A race while it runs, as a table that fits the terminal. It keeps nothing: whoever watches hands in how things stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from unvanish.report.wording import numbers

BAR, WIDE_BAR = 8, 16
WIDE = 100  # cells, from which the bars are longer
FRAME = 5  # lines besides the rows: title, head, two empty ones, foot
FEWEST_ROWS = 3
GAP = 2
NAME = 26
LEAST = (8, 8, 7, 6, 5)  # cells of the columns, so that they stand still while numbers grow


@dataclass(frozen=True, slots=True)
class Contender:
    """How a candidate stands. `goal` is the step that it runs to now, `whole` the length of the training; None where nobody knows.

    `seeds` have been run to their end. `state` is said in few words; `live` tells that it still runs, `out` that it runs no more.
    """

    name: str
    step: int
    goal: int | None
    whole: int | None
    loss: float
    seeds: int
    state: str
    live: bool = False
    out: bool = False


@dataclass(frozen=True, slots=True)
class LiveRace:
    """What rich prints while a race runs: the part that runs now, the candidates in the order given, and a last line."""

    part: str
    contenders: Sequence[Contender]
    foot: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, no higher than the terminal: of what there is no room for, the number is said."""
        room = max(FEWEST_ROWS, (options.height or console.height) - FRAME)
        shown, hidden = list(self.contenders), 0
        if len(shown) > room:
            hidden = len(shown) - (room - 1)
            # The script as it is stands last, and stays.
            shown = [*shown[: room - 2], shown[-1]]
        more = [Text(f"and {numbers.plural(hidden, 'other candidate')}", style="dim")] if hidden else []
        if not self.contenders:
            yield Text(" · ".join(filter(None, (self.part or "starting", self.foot))), style="dim")
            return
        head = Text(self.part, style="bold", overflow="ellipsis", no_wrap=True)
        foot = Text(self.foot, style="dim", overflow="ellipsis", no_wrap=True)
        yield Group(head, "", _table(shown, options.max_width), *more, "", foot)


def _table(contenders: Sequence[Contender], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    cells = WIDE_BAR if width >= WIDE else BAR
    rows = [_cells(each, cells) for each in contenders]
    heads = ("trial", "training", "step", "loss", "seeds")
    widths = [
        max([cell_len(head), least, *(cell_len(row[place].plain) for row in rows)])
        for place, (head, least) in enumerate(zip(heads, LEAST, strict=True))
    ]
    name = min(NAME, widths[0])
    table.add_column(heads[0], width=name, no_wrap=True, overflow="ellipsis")
    for place, head in enumerate(heads[1:], start=1):
        table.add_column(head, no_wrap=True, justify="left" if place == 1 else "right", width=widths[place])
    state = max(1, width - name - sum(widths[1:]) - GAP * len(heads))
    table.add_column("state", no_wrap=True, overflow="ellipsis", width=state)
    for each, row in zip(contenders, rows, strict=True):
        table.add_row(*row, style="dim" if each.out else "")
    return table


def _cells(each: Contender, bar: int) -> list[Text]:
    share = min(1.0, each.step / each.whole) if each.whole else 0.0
    full = round(bar * share)
    step = f"{each.step:,}/{each.goal:,}" if each.goal else f"{each.step:,}"
    return [
        Text(each.name),
        Text.assemble(("█" * full, "cyan" if each.live else ""), ("░" * (bar - full), "dim")),
        Text(step if each.step or each.goal else ""),
        Text(_loss(each) if each.step else ""),
        Text(str(each.seeds) if each.seeds else ""),
        Text(each.state, style="red" if each.state.startswith("failed") else ""),
    ]


def _loss(each: Contender) -> str:
    if math.isnan(each.loss):
        return ""
    return numbers.figure(each.loss) if math.isfinite(each.loss) else "diverged"
