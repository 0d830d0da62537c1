"""One traced flow in the terminal: what was lost, to which kinds and blocks, what theory says, and how far back in time it reaches.

It stands under a verdict and prints nothing itself: it hands back what rich can print, in as much detail as the width allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unvanish.record.flow import GradientFlow
from unvanish.record.prediction import Prediction
from unvanish.report.figures.flow.operation_kinds import SLIGHT, kind_label, sentence
from unvanish.report.figures.flow.time import through_time
from unvanish.report.views import flow_terms
from unvanish.report.views.flow_terms import Line, said
from unvanish.report.wording import numbers, places

ROOMY = 110  # from this width on, source lines are shown and bars are longer
BARS = 6
BAR_CELLS = 24
BAR_CELLS_ROOMY = 40
BLOCKS = 3
RECURRENCES = 3
WORTH_NAMING = 0.1  # of the total: a block that takes less is not worse than its many neighbours
LABEL = 28


@dataclass(frozen=True, slots=True)
class FlowLines:
    """What rich prints for a flow."""

    flow: GradientFlow
    prediction: Prediction | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines, with source lines and longer bars where the width allows."""
        roomy = options.max_width >= ROOMY
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="bold", width=5, no_wrap=True)
        grid.add_column()
        for label, content in _rows(self.flow, self.prediction, roomy=roomy):
            grid.add_row(label, content)
        yield grid


def render_flow(flow: GradientFlow, prediction: Prediction | None = None) -> RenderableType:
    """The lines of a flow for a terminal, indented as those of a verdict."""
    return Padding(FlowLines(flow, prediction), (0, 0, 0, 2))


def _rows(flow: GradientFlow, prediction: Prediction | None, *, roomy: bool) -> list[tuple[str, RenderableType]]:
    rows: list[tuple[str, RenderableType]] = [("Flow", Text(_measured(flow, prediction)))]
    if math.isfinite(flow.total):
        first = sentence(flow)
        rows.append(("Kinds", Text(f"{first[0].upper()}{first[1:]}.")))
        rows.append(("", _bars(flow, cells=BAR_CELLS_ROOMY if roomy else BAR_CELLS)))
        rows += [("" if number else "Worst", line) for number, line in enumerate(_worst(flow, roomy=roomy))]
    rows += [("" if number else "Depth", Text(line)) for number, line in enumerate(_depth(prediction))]
    rows += [("" if number else "Time", Text(line)) for number, line in enumerate(_time(flow))]
    return rows


def _measured(flow: GradientFlow, prediction: Prediction | None) -> str:
    if not math.isfinite(flow.total):
        return f"{flow_terms.no_total(flow)}."
    theory = ""
    if prediction is not None and prediction.decades is not None and not flow_terms.to_parameter(flow):
        theory = f"; theory {numbers.decades(prediction.decades)}"
    return f"Measured {numbers.decades(flow.total)} decades from the output to {flow_terms.end(flow)}{theory}."


def _bars(flow: GradientFlow, *, cells: int) -> Table:
    kinds = {kind: found for kind, found in flow_terms.by_kind(flow).items() if abs(found[0]) >= SLIGHT}
    most = max((abs(decades) for decades, _ in kinds.values()), default=0.0)
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, max_width=LABEL, overflow="ellipsis")
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, justify="right")
    for kind, (decades, names) in list(kinds.items())[:BARS]:
        bar = Text("▇" * max(1, round(cells * abs(decades) / most)), style="blue" if decades < 0 else "dark_orange")
        grid.add_row(Text(f"▏{kind_label(kind, names)}"), bar, said(decades))
    if len(kinds) > BARS:
        rest = sum(decades for decades, _ in list(kinds.values())[BARS:])
        grid.add_row(Text(f"▏{numbers.plural(len(kinds) - BARS, 'more kind')}", style="dim"), "", Text(said(rest), style="dim"))
    return grid


def _worst(flow: GradientFlow, *, roomy: bool) -> list[Text]:
    """The blocks that do most of it; one sentence where no block does more than its share."""
    every = flow_terms.lines(flow, len(flow.ops) + 1)
    along = sorted((line for line in every if line.decades * flow.total > 0), key=lambda line: -abs(line.decades))
    if len(along) < 2:
        return []
    named = [line for line in along[:BLOCKS] if abs(line.decades) >= WORTH_NAMING * abs(flow.total)]
    if not named:
        noun = along[0].noun
        return [Text(f"Spread over {numbers.plural(len(along), noun)}, at most {abs(along[0].decades):.2f} decades in one.")]
    return [_block(line, roomy=roomy) for line in named]


def _block(line: Line, *, roomy: bool) -> Text:
    text = Text(f"{flow_terms.place(line.name(LABEL)):<{LABEL}} {said(line.decades):>8}")
    heaviest = max(line.pieces, key=lambda piece: abs(piece.decades))
    if heaviest.where and roomy:
        text.append(f"  {heaviest.where}", style="cyan")
    if roomy and heaviest.label not in line.names:
        text.append(f"  {places.shortened(heaviest.label, LABEL)} {said(heaviest.decades)}", style="dim")
    return text


def _depth(prediction: Prediction | None) -> list[str]:
    """What theory says of the depth and the weights; its reason where it says nothing."""
    if prediction is None:
        return []
    lines: list[str] = []
    if prediction.trainable_depth is not None:
        if math.isinf(prediction.trainable_depth):
            lines.append("Trainable depth unlimited: with such weights the gradient keeps its size.")
        else:
            own = f"; this network has {len(prediction.layers)}" if prediction.layers else ""
            lines.append(f"Trainable depth about {numbers.plural(max(1, round(prediction.trainable_depth)), 'layer')}{own}.")
    if prediction.critical_sw is not None:
        now = f" (now {numbers.figure(prediction.sw)})" if prediction.sw is not None else ""
        lines.append(f"Critical weight scale {numbers.figure(prediction.critical_sw)}{now}.")
    if prediction.decades is None and prediction.reason:
        lines.append(f"No forecast: {prediction.reason.rstrip('.')}.")
    return lines


def _time(flow: GradientFlow) -> list[str]:
    profiles = [profile for profile in flow.times if profile.steps > 1]
    profiles.sort(key=lambda profile: -abs(profile.decades_per_step))
    lines = [f"Through {through_time(profile)}." for profile in profiles[:RECURRENCES]]
    left = len(profiles) - len(lines)
    return lines + ([f"And {numbers.plural(left, 'recurrence')} more, slower than these."] if left else [])
