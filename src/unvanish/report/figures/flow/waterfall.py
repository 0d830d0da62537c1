"""Builds the waterfall chart of the gradient's decades from the loss to the input, one bar for each block or group of blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import plotly.graph_objects as go

from unvanish.record.gradient_flow import GradientFlow
from unvanish.record.theory_prediction import Prediction
from unvanish.report.figures.bar_chart import AXIS_MARGIN, HATCHING, build_row_axis, build_value_axis, choose_colour
from unvanish.report.figures.palette import CATEGORIES, INK, QUIET
from unvanish.report.figures.picture import Picture, Table, build_axis_title, build_empty_figure
from unvanish.report.figures.run.gradient import NEGLIGIBLE_DECADES
from unvanish.report.views import flow_terms
from unvanish.report.views.flow_terms import FlowTerm, TermGroup, format_signed_decades
from unvanish.report.wording import locations, numbers

MAX_BARS = 18  # that can be taken in at one glance
LABEL_WIDTH = 26  # characters
MAX_HOVER_TERMS = 8  # operations that are named when a bar is pointed at
MAX_TABLE_ROWS = 200
TITLE_SHARE = 0.25  # of the total: from this on, the largest bar is named in the title; our choice of words, no verdict
NONFINITE_MARGINS = 8  # margins beyond the finite bars, to where a hatched bar is drawn
THEORY_COLOUR = CATEGORIES[1]
LOSS_NAME = "the loss itself"


@dataclass(frozen=True, slots=True)
class WaterfallBar:
    """One bar: its label, start and end on the axis in decades, the value written beside it, and its colour ("" for hatched)."""

    label: str
    start: float
    end: float
    value: str
    hover: str
    colour: str


def build_waterfall_picture(flow: GradientFlow, prediction: Prediction | None = None) -> Picture | None:
    """The waterfall from the loss to the target, with the predicted total where there is one; None where nothing was traced."""
    groups = flow_terms.group_terms(flow, MAX_BARS)
    if not groups and math.isnan(flow.log10_source_rms):
        return None
    bars = _bars(flow, groups)
    hatched = any(not bar.colour for bar in bars)
    bar_texts = "; ".join(f"{bar.label} {bar.value}" for bar in bars)
    return Picture(
        name="waterfall",
        title=_title(flow),
        caption=_caption(flow, groups),
        text_alternative=f"Waterfall of decades from the loss to {flow_terms.format_target(flow)}: {bar_texts}.",
        figure=_figure(bars, _predicted_total(flow, prediction)),
        table=_table(flow),
        legend=(("hatched", "no finite number of decades: zero, infinite or not a number"),) if hatched else (),
    )


def _predicted_total(flow: GradientFlow, prediction: Prediction | None) -> float | None:
    """Theory's decades from output to input, None where theory or the measurement has no finite number."""
    if prediction is None or flow_terms.ends_at_parameter(flow) or not math.isfinite(flow.total):
        return None
    return prediction.decades


def _title(flow: GradientFlow) -> str:
    if not math.isfinite(flow.total):
        return flow_terms.explain_missing_total(flow)
    target = flow_terms.format_target(flow)
    if abs(flow.total) < NEGLIGIBLE_DECADES:
        return f"The gradient arrives at {target} about as large as it left the output"
    verb = "loses" if flow.total < 0 else "grows by"
    sentence = f"The gradient {verb} {numbers.format_decades(abs(flow.total), signed=False)} decades from the output to {target}"
    same_sign = [group for group in flow_terms.group_terms(flow, len(flow.ops) + 1) if group.decades * flow.total > 0]
    if len(same_sign) < 2:
        return sentence
    largest = max(same_sign, key=lambda group: abs(group.decades))
    size = f"{abs(largest.decades):.1f}"
    if abs(largest.decades) >= TITLE_SHARE * abs(flow.total):
        name = flow_terms.format_label(largest.format_name(LABEL_WIDTH))
        if abs(largest.decades) > abs(flow.total):
            return f"{sentence}; {name} alone {'takes' if flow.total < 0 else 'adds'} {size}"
        return f"{sentence}, {size} of them in {name}"
    return f"{sentence}, at most {size} in one {largest.noun}"


def _caption(flow: GradientFlow, groups: list[TermGroup]) -> str:
    noun = groups[0].noun if groups else "block"
    count = sum(group.member_count for group in groups)
    folding_note = f" {count:,} {noun}s in {len(groups)} bars: neighbours are folded." if count > len(groups) else ""
    return (
        f"One exact step, from the loss itself (0) at the top back to {flow_terms.format_target(flow)}, in decades. "
        f"The bars add up to the whole.{folding_note}"
    )


def _bars(flow: GradientFlow, groups: list[TermGroup]) -> list[WaterfallBar]:
    sizes = [abs(group.decades) for group in groups if math.isfinite(group.decades)]
    loss_decades = flow.log10_source_rms
    # Colours are relative to the largest bar, and to one decade at least, so that small changes stay pale.
    full_scale = max([1.0, *sizes, abs(loss_decades) if math.isfinite(loss_decades) else 0.0])
    bars: list[WaterfallBar] = []
    if flow.loss_ops or loss_decades:
        names = ", ".join(dict.fromkeys(op.op for op in reversed(flow.loss_ops)))
        terms = "".join(f"<br>{format_signed_decades(op.decades)}  {op.op}" for op in reversed(flow.loss_ops[:MAX_HOVER_TERMS]))
        hover = f"{LOSS_NAME}: {format_signed_decades(loss_decades)} decades{terms}"
        label = f"loss: {names}" if names else "loss"
        finite = math.isfinite(loss_decades)
        end, colour = (loss_decades, choose_colour(loss_decades, full_scale)) if finite else (0.0, "")
        bars.append(WaterfallBar(label, 0.0, end, format_signed_decades(loss_decades), hover, colour))
    position = loss_decades if math.isfinite(loss_decades) else 0.0
    for group in groups:
        finite = math.isfinite(group.decades)
        end = position + group.decades if finite else position
        colour = choose_colour(group.decades, full_scale) if finite else ""
        text = format_signed_decades(group.decades)
        bars.append(WaterfallBar(group.format_name(LABEL_WIDTH), position, end, text, _hover(group), colour))
        position = end
    return [*bars, _total_bar(flow, position)]


def _total_bar(flow: GradientFlow, last_end: float) -> WaterfallBar:
    """The last bar, from the output's gradient to the target's; `last_end` is where the bars before it ended."""
    start = flow.log10_source_rms if math.isfinite(flow.log10_source_rms) else 0.0
    finite = math.isfinite(flow.total)
    label = (
        f"output → {locations.shorten_label(flow.target, LABEL_WIDTH - 9)}"
        if flow_terms.ends_at_parameter(flow)
        else "output → input"
    )
    hover = f"from the output to {flow_terms.format_target(flow)}: {format_signed_decades(flow.total)} decades"
    return WaterfallBar(
        label, start, start + flow.total if finite else last_end, format_signed_decades(flow.total), hover, QUIET if finite else ""
    )


def _hover(group: TermGroup) -> str:
    largest = sorted(group.terms, key=lambda term: -abs(term.decades))[:MAX_HOVER_TERMS]
    shown = [term for term in group.terms if term in largest]
    rows = "".join(f"<br>{format_signed_decades(term.decades)}  {_format_term(term)}" for term in shown)
    hidden = len(group.terms) - len(shown)
    more = f"<br>and {numbers.format_count(hidden)} more, lighter than these" if hidden else ""
    return f"<b>{group.format_name(2 * LABEL_WIDTH)}</b>: {format_signed_decades(group.decades)} decades{rows}{more}"


def _format_term(term: FlowTerm) -> str:
    op = "" if term.op in term.label else f" ({term.op})"
    return f"{term.label}{op}" + (f"  {term.source_line}" if term.source_line else "")


def _figure(bars: list[WaterfallBar], theory: float | None) -> go.Figure:
    theory_bars = (
        []
        if theory is None
        else [WaterfallBar("theory", bars[-1].start, bars[-1].start + theory, format_signed_decades(theory), "", THEORY_COLOUR)]
    )
    all_bars = bars + theory_bars
    texts = [numbers.typeset(bar.value) for bar in all_bars]
    rows = list(range(len(all_bars)))[::-1]
    ends = [value for bar in all_bars for value in (bar.start, bar.end)]
    margin = AXIS_MARGIN * max(max(ends) - min(ends), 0.1)
    far_margin = NONFINITE_MARGINS * margin if any(not bar.colour for bar in bars) else margin
    falling = bars[-1].end < 0
    limits = [min(ends) - (far_margin if falling else margin), max(ends) + (margin if falling else far_margin)]
    figure = build_empty_figure(
        76 + 27 * len(all_bars),
        x={"title": build_axis_title("log10 RMS of the gradient"), "range": limits[::-1] if falling else limits, "tickangle": 0},
        y=build_row_axis([f"<b>{bar.label}</b>" if bar is bars[-1] else bar.label for bar in all_bars]),
        yaxis2=build_value_axis([f"<b>{text}</b>" if bar is bars[-1] else text for bar, text in zip(all_bars, texts, strict=True)]),
    )
    figure.add_trace(_build_running_total(bars, rows))
    for bar, row in zip(bars, rows, strict=False):
        figure.add_trace(_build_bar(bar, row, limits[0] if falling else limits[1]))
    if theory is not None:
        figure.add_trace(_build_theory_line(all_bars[-1]))
    return figure


def _build_bar(bar: WaterfallBar, row: int, axis_end: float) -> go.Bar:
    hatched = {"pattern": dict(HATCHING), "line": {"width": 1, "color": INK}}
    end = bar.end if bar.colour else axis_end
    return go.Bar(
        orientation="h",
        y=[row],
        base=[bar.start],
        x=[end - bar.start],
        width=0.74,
        marker={"color": bar.colour, "line": {"width": 0}} if bar.colour else hatched,
        hovertemplate=f"{numbers.typeset(bar.hover)}<extra></extra>",
    )


def _build_running_total(bars: list[WaterfallBar], rows: list[int]) -> go.Scatter:
    """Connecting lines from the end of each bar down to the start of the next; the last bar is the total itself."""
    x: list[float | None] = []
    y: list[float | None] = []
    for bar, row in zip(bars[:-1], rows, strict=False):
        x += [bar.end, bar.end, None]
        y += [row + 0.37, row - 1.37, None]
    return go.Scatter(x=x, y=y, yaxis="y2", mode="lines", line={"color": QUIET, "width": 1}, hoverinfo="skip")


def _build_theory_line(bar: WaterfallBar) -> go.Scatter:
    """The predicted total, dotted, in the lowest row."""
    return go.Scatter(
        x=[bar.start, bar.end],
        y=[0, 0],
        mode="lines+markers",
        line={"color": bar.colour, "dash": "dot", "width": 2.5},
        marker={"symbol": ["line-ns-open", "diamond"], "size": [1, 10], "color": bar.colour},
        hovertemplate=f"theory: {numbers.typeset(bar.value)} decades<extra></extra>",
    )


def _table(flow: GradientFlow) -> Table:
    log10_rms = flow.log10_source_rms
    loss_text = format_signed_decades(log10_rms, 3)
    rows = [(LOSS_NAME, ", ".join(dict.fromkeys(op.op for op in flow.loss_ops)), loss_text, loss_text, "")]
    for term in flow_terms.list_terms(flow):
        log10_rms += term.decades
        name = _format_term(term).removesuffix(f"  {term.source_line}")
        numbers_text = (format_signed_decades(term.decades, 3), format_signed_decades(log10_rms, 3))
        rows.append((term.block, name, *numbers_text, term.source_line))
    total_row = (flow.target, "in all", format_signed_decades(flow.total, 3), format_signed_decades(flow.log10_target_rms, 3), "")
    kept = rows[:MAX_TABLE_ROWS]
    note = "" if len(kept) == len(rows) else f"The first {len(kept)} of {len(rows):,} terms; the flow's own table has all."
    return Table(("block", "operation", "decades", "log10 RMS after it", "source line"), (*kept, total_row), note)
