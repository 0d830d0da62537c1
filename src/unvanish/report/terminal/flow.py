"""Renders one traced gradient flow for the terminal: total, kinds of operation, largest blocks, theory's depth and recurrences."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unvanish.record.gradient_flow import GradientFlow
from unvanish.record.theory_prediction import Prediction
from unvanish.report.figures.flow.operation_kinds import MIN_SHOWN_DECADES, describe_kinds, format_kind
from unvanish.report.figures.flow.time import describe_time_profile
from unvanish.report.views import flow_terms
from unvanish.report.views.flow_terms import TermGroup, format_signed_decades
from unvanish.report.wording import locations, numbers

WIDE = 110  # cells of the terminal, from which source lines are shown and bars are longer
MAX_BARS = 6
BAR_CELLS = 24
WIDE_BAR_CELLS = 40
MAX_BLOCKS = 3
MAX_RECURRENCES = 3
MIN_BLOCK_SHARE = 0.1  # of the total: a block that takes less is not worse than its many neighbours
LABEL_WIDTH = 28


@dataclass(frozen=True, slots=True)
class FlowSummary:
    """A rich renderable for a flow, with the prediction where there is one."""

    flow: GradientFlow
    prediction: Prediction | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the summary, with source lines and longer bars where the width allows."""
        is_wide = options.max_width >= WIDE
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="bold", width=5, no_wrap=True)
        grid.add_column()
        for label, content in _rows(self.flow, self.prediction, is_wide=is_wide):
            grid.add_row(label, content)
        yield grid


def render_flow(flow: GradientFlow, prediction: Prediction | None = None) -> RenderableType:
    """The summary of a flow for a terminal, indented like a verdict."""
    return Padding(FlowSummary(flow, prediction), (0, 0, 0, 2))


def _rows(flow: GradientFlow, prediction: Prediction | None, *, is_wide: bool) -> list[tuple[str, RenderableType]]:
    rows: list[tuple[str, RenderableType]] = [("Flow", Text(_format_total(flow, prediction)))]
    if math.isfinite(flow.total):
        sentence = describe_kinds(flow)
        rows.append(("Kinds", Text(f"{sentence[0].upper()}{sentence[1:]}.")))
        rows.append(("", _bars(flow, cells=WIDE_BAR_CELLS if is_wide else BAR_CELLS)))
        rows += [("" if number else "Worst", line) for number, line in enumerate(_format_largest_blocks(flow, is_wide=is_wide))]
    rows += [("" if number else "Depth", Text(line)) for number, line in enumerate(_format_depth(prediction))]
    rows += [("" if number else "Time", Text(line)) for number, line in enumerate(_format_recurrences(flow))]
    return rows


def _format_total(flow: GradientFlow, prediction: Prediction | None) -> str:
    if not math.isfinite(flow.total):
        return f"{flow_terms.explain_missing_total(flow)}."
    theory = ""
    if prediction is not None and prediction.decades is not None and not flow_terms.ends_at_parameter(flow):
        theory = f"; theory {numbers.format_decades(prediction.decades)}"
    return f"Measured {numbers.format_decades(flow.total)} decades from the output to {flow_terms.format_target(flow)}{theory}."


def _bars(flow: GradientFlow, *, cells: int) -> Table:
    kinds = {kind: entry for kind, entry in flow_terms.sum_by_kind(flow).items() if abs(entry[0]) >= MIN_SHOWN_DECADES}
    largest = max((abs(decades) for decades, _ in kinds.values()), default=0.0)
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, max_width=LABEL_WIDTH, overflow="ellipsis")
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, justify="right")
    for kind, (decades, names) in list(kinds.items())[:MAX_BARS]:
        bar = Text("▇" * max(1, round(cells * abs(decades) / largest)), style="blue" if decades < 0 else "dark_orange")
        grid.add_row(Text(f"▏{format_kind(kind, names)}"), bar, format_signed_decades(decades))
    if len(kinds) > MAX_BARS:
        rest = sum(decades for decades, _ in list(kinds.values())[MAX_BARS:])
        grid.add_row(
            Text(f"▏{numbers.pluralise(len(kinds) - MAX_BARS, 'more kind')}", style="dim"),
            "",
            Text(format_signed_decades(rest), style="dim"),
        )
    return grid


def _format_largest_blocks(flow: GradientFlow, *, is_wide: bool) -> list[Text]:
    """The blocks that change the gradient most; one sentence where no block does more than its share."""
    groups = flow_terms.group_terms(flow, len(flow.ops) + 1)
    same_sign = sorted((group for group in groups if group.decades * flow.total > 0), key=lambda group: -abs(group.decades))
    if len(same_sign) < 2:
        return []
    large = [group for group in same_sign[:MAX_BLOCKS] if abs(group.decades) >= MIN_BLOCK_SHARE * abs(flow.total)]
    if not large:
        noun = same_sign[0].noun
        return [
            Text(f"Spread over {numbers.pluralise(len(same_sign), noun)}, at most {abs(same_sign[0].decades):.2f} decades in one.")
        ]
    return [_format_block(group, is_wide=is_wide) for group in large]


def _format_block(group: TermGroup, *, is_wide: bool) -> Text:
    name = flow_terms.format_label(group.format_name(LABEL_WIDTH))
    text = Text(f"{name:<{LABEL_WIDTH}} {format_signed_decades(group.decades):>8}")
    largest = max(group.terms, key=lambda term: abs(term.decades))
    if largest.source_line and is_wide:
        text.append(f"  {largest.source_line}", style="cyan")
    if is_wide and largest.label not in group.names:
        text.append(
            f"  {locations.shorten_label(largest.label, LABEL_WIDTH)} {format_signed_decades(largest.decades)}", style="dim"
        )
    return text


def _format_depth(prediction: Prediction | None) -> list[str]:
    """Trainable depth and critical weight scale by theory; the reason where theory makes no prediction."""
    if prediction is None:
        return []
    lines: list[str] = []
    if prediction.trainable_depth is not None:
        if math.isinf(prediction.trainable_depth):
            lines.append("Trainable depth unlimited: with such weights the gradient keeps its size.")
        else:
            own = f"; this network has {len(prediction.layers)}" if prediction.layers else ""
            lines.append(f"Trainable depth about {numbers.pluralise(max(1, round(prediction.trainable_depth)), 'layer')}{own}.")
    if prediction.critical_sw is not None:
        now = f" (now {numbers.format_number(prediction.sw)})" if prediction.sw is not None else ""
        lines.append(f"Critical weight scale {numbers.format_number(prediction.critical_sw)}{now}.")
    if prediction.decades is None and prediction.reason:
        lines.append(f"No forecast: {prediction.reason.rstrip('.')}.")
    return lines


def _format_recurrences(flow: GradientFlow) -> list[str]:
    profiles = [profile for profile in flow.times if profile.steps > 1]
    profiles.sort(key=lambda profile: -abs(profile.decades_per_step))
    lines = [f"Through {describe_time_profile(profile)}." for profile in profiles[:MAX_RECURRENCES]]
    hidden = len(profiles) - len(lines)
    return lines + ([f"And {numbers.pluralise(hidden, 'recurrence')} more, slower than these."] if hidden else [])
