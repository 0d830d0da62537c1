"""A race as a table in the terminal. It fits the width it is given: the deciding metric always, the others where there is room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from unvanish.record.verdict import Outcome, RaceResult
from unvanish.report import numbers, race_table
from unvanish.report.race_table import MARKS, Row

ROOMY = 110  # from this width on, every metric is shown, and the size of the network
STYLES: Mapping[Outcome, str] = {
    Outcome.CURED: "bold green",
    Outcome.BETTER: "cyan",
    Outcome.SAME: "dim",
    Outcome.WORSE: "yellow",
    Outcome.FAILED: "red",
}


@dataclass(frozen=True, slots=True)
class RaceTable:
    """What rich prints for a race."""

    race: RaceResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, in as many columns as the width allows."""
        roomy = options.max_width >= ROOMY
        yield _table(self.race, metrics=3 if roomy else 1, size=roomy)


def _table(race: RaceResult, *, metrics: int, size: bool) -> Table:
    shown = race_table.metrics(race)[:metrics]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("remedy", max_width=26)
    for metric in shown:
        table.add_column(Text(metric), no_wrap=True)
    table.add_column("against as it is" if not size else "against the script as it is", no_wrap=True)
    table.add_column("step", no_wrap=True, justify="right")
    if size:
        table.add_column("params", no_wrap=True, justify="right")
        table.add_column("seeds", no_wrap=True, justify="right")
    for row in race_table.rows(race):
        table.add_row(*_cells(row, shown, size=size), style="dim" if row.verdict is None else "")
    return table


def _cells(row: Row, shown: list[str], *, size: bool) -> list[Text]:
    values = [row.value(metric) for metric in shown]
    said = [Text(f"{numbers.figure(v[0])} ± {numbers.spread(*v)}" if v else "") for v in values]
    cells = [Text(row.name, style="bold" if row.winner else ""), *said, _against(row)]
    if row.verdict is None or row.verdict.outcome is Outcome.FAILED:
        return cells
    cost = row.verdict.cost
    cells.append(Text(numbers.ratio(cost.step_time)))
    if size:
        cells += [Text(numbers.signed_percent(cost.parameters)), Text(str(row.verdict.seeds))]
    return cells


def _against(row: Row) -> Text:
    if row.verdict is None:
        return Text("")
    outcome = row.verdict.outcome
    text = Text(f"{MARKS[outcome]} {outcome.value:<6} ", style=STYLES[outcome])
    if row.effect is not None and outcome is not Outcome.FAILED:
        text.append(f"{numbers.signed(row.effect.effect)} {numbers.interval(*row.effect.interval)}", style="default")
    return text
