"""The waterfall of decades: from the loss to the input, what the loss and every block did to the gradient, and what arrives.

Few bars in a large network too: neighbours are folded. The bars end where the gradient ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import plotly.graph_objects as go

from unvanish.record.flow import GradientFlow
from unvanish.record.prediction import Prediction
from unvanish.report.figures.bar_chart import HATCHED, MARGIN, colour, figures_beside, labels
from unvanish.report.figures.palette import CATEGORIES, INK, QUIET
from unvanish.report.figures.picture import Picture, Table, canvas, titled
from unvanish.report.figures.run.gradient import FLAT
from unvanish.report.views import flow_terms
from unvanish.report.views.flow_terms import Line, Piece, said
from unvanish.report.wording import numbers, places

LINES = 18  # bars that are seen at one glance
LABEL = 26
HOVER = 8  # operations that are named when a bar is pointed at
TABLE_ROWS = 200
STANDS_OUT = 0.25  # from this share of the total on, the largest bar is named in the title; our choice of words, no verdict
ENDLESS = 8  # times that, where a hatched bar runs off the axis
THEORY = CATEGORIES[1]
LOSS = "the loss itself"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, where it starts and ends on the axis, what is written beside it, and its colour ("" for hatched)."""

    label: str
    start: float
    end: float
    figure: str
    hover: str
    colour: str


def waterfall_picture(flow: GradientFlow, prediction: Prediction | None = None) -> Picture | None:
    """The waterfall from the loss to the target; None where nothing was traced. Theory's total is marked where there is one."""
    lines = flow_terms.lines(flow, LINES)
    if not lines and math.isnan(flow.log10_source_rms):
        return None
    bars = _bars(flow, lines)
    hatched = any(not bar.colour for bar in bars)
    said_bars = "; ".join(f"{bar.label} {bar.figure}" for bar in bars)
    return Picture(
        name="waterfall",
        title=_title(flow),
        caption=_caption(flow, lines),
        alternative=f"Waterfall of decades from the loss to {flow_terms.end(flow)}: {said_bars}.",
        figure=_figure(bars, _theory(flow, prediction)),
        table=_table(flow),
        keys=(("hatched", "no finite number of decades: zero, infinite or not a number"),) if hatched else (),
    )


def _theory(flow: GradientFlow, prediction: Prediction | None) -> float | None:
    """Theory's decades for the same way, where it has a number and so has the measurement."""
    if prediction is None or flow_terms.to_parameter(flow) or not math.isfinite(flow.total):
        return None
    return prediction.decades


def _title(flow: GradientFlow) -> str:
    if not math.isfinite(flow.total):
        return flow_terms.no_total(flow)
    end = flow_terms.end(flow)
    if abs(flow.total) < FLAT:
        return f"The gradient arrives at {end} about as large as it left the output"
    moved = "loses" if flow.total < 0 else "grows by"
    sentence = f"The gradient {moved} {numbers.decades(abs(flow.total), signed=False)} decades from the output to {end}"
    along = [line for line in flow_terms.lines(flow, len(flow.ops) + 1) if line.decades * flow.total > 0]
    if len(along) < 2:
        return sentence
    most = max(along, key=lambda line: abs(line.decades))
    size = f"{abs(most.decades):.1f}"
    if abs(most.decades) >= STANDS_OUT * abs(flow.total):
        name = flow_terms.place(most.name(LABEL))
        if abs(most.decades) > abs(flow.total):
            return f"{sentence}; {name} alone {'takes' if flow.total < 0 else 'adds'} {size}"
        return f"{sentence}, {size} of them in {name}"
    return f"{sentence}, at most {size} in one {most.noun}"


def _caption(flow: GradientFlow, lines: list[Line]) -> str:
    noun = lines[0].noun if lines else "block"
    count = sum(line.folded for line in lines)
    folded = f" {count:,} {noun}s in {len(lines)} bars: neighbours are folded." if count > len(lines) else ""
    return (
        f"One exact step, from the loss itself (0) at the top back to {flow_terms.end(flow)}, in decades. "
        f"The bars add up to the whole.{folded}"
    )


def _bars(flow: GradientFlow, lines: list[Line]) -> list[Bar]:
    sizes = [abs(line.decades) for line in lines if math.isfinite(line.decades)]
    head = flow.log10_source_rms
    # Bars side by side are compared with each other; a network of few and faint ones does not shout.
    reach = max([1.0, *sizes, abs(head) if math.isfinite(head) else 0.0])
    bars: list[Bar] = []
    if flow.loss_ops or head:
        names = ", ".join(dict.fromkeys(op.op for op in reversed(flow.loss_ops)))
        inside = "".join(f"<br>{said(op.decades)}  {op.op}" for op in reversed(flow.loss_ops[:HOVER]))
        hover = f"{LOSS}: {said(head)} decades{inside}"
        label = f"loss: {names}" if names else "loss"
        known = math.isfinite(head)
        bars.append(Bar(label, 0.0, head if known else 0.0, said(head), hover, colour(head, reach) if known else ""))
    at = head if math.isfinite(head) else 0.0
    for line in lines:
        known = math.isfinite(line.decades)
        end = at + line.decades if known else at
        bars.append(Bar(line.name(LABEL), at, end, said(line.decades), _hover(line), colour(line.decades, reach) if known else ""))
        at = end
    return [*bars, _total(flow, at)]


def _total(flow: GradientFlow, at: float) -> Bar:
    """The last bar, from the output's gradient to the target's; `at` is where the bars before it ended."""
    start = flow.log10_source_rms if math.isfinite(flow.log10_source_rms) else 0.0
    known = math.isfinite(flow.total)
    label = f"output → {places.shortened(flow.target, LABEL - 9)}" if flow_terms.to_parameter(flow) else "output → input"
    hover = f"from the output to {flow_terms.end(flow)}: {said(flow.total)} decades"
    return Bar(label, start, start + flow.total if known else at, said(flow.total), hover, QUIET if known else "")


def _hover(line: Line) -> str:
    heaviest = sorted(line.pieces, key=lambda piece: -abs(piece.decades))[:HOVER]
    shown = [piece for piece in line.pieces if piece in heaviest]
    rows = "".join(f"<br>{said(piece.decades)}  {_named(piece)}" for piece in shown)
    left = len(line.pieces) - len(shown)
    more = f"<br>and {numbers.count(left)} more, lighter than these" if left else ""
    return f"<b>{line.name(2 * LABEL)}</b>: {said(line.decades)} decades{rows}{more}"


def _named(piece: Piece) -> str:
    op = "" if piece.op in piece.label else f" ({piece.op})"
    return f"{piece.label}{op}" + (f"  {piece.where}" if piece.where else "")


def _figure(bars: list[Bar], theory: float | None) -> go.Figure:
    below = [] if theory is None else [Bar("theory", bars[-1].start, bars[-1].start + theory, said(theory), "", THEORY)]
    every = bars + below
    texts = [numbers.typeset(bar.figure) for bar in every]
    rows = list(range(len(every)))[::-1]
    ends = [value for bar in every for value in (bar.start, bar.end)]
    margin = MARGIN * max(max(ends) - min(ends), 0.1)
    endless = ENDLESS * margin if any(not bar.colour for bar in bars) else margin
    falling = bars[-1].end < 0
    limits = [min(ends) - (endless if falling else margin), max(ends) + (margin if falling else endless)]
    figure = canvas(
        76 + 27 * len(every),
        x={"title": titled("log10 RMS of the gradient"), "range": limits[::-1] if falling else limits, "tickangle": 0},
        y=labels([f"<b>{bar.label}</b>" if bar is bars[-1] else bar.label for bar in every]),
        yaxis2=figures_beside([f"<b>{text}</b>" if bar is bars[-1] else text for bar, text in zip(every, texts, strict=True)]),
    )
    figure.add_trace(_running_total(bars, rows))
    for bar, row in zip(bars, rows, strict=False):
        figure.add_trace(_drawn(bar, row, limits[0] if falling else limits[1]))
    if theory is not None:
        figure.add_trace(_forecast(every[-1]))
    return figure


def _drawn(bar: Bar, row: int, edge: float) -> go.Bar:
    hatched = {"pattern": dict(HATCHED), "line": {"width": 1, "color": INK}}
    end = bar.end if bar.colour else edge
    return go.Bar(
        orientation="h",
        y=[row],
        base=[bar.start],
        x=[end - bar.start],
        width=0.74,
        marker={"color": bar.colour, "line": {"width": 0}} if bar.colour else hatched,
        hovertemplate=f"{numbers.typeset(bar.hover)}<extra></extra>",
    )


def _running_total(bars: list[Bar], rows: list[int]) -> go.Scatter:
    """The running total: from the end of each bar down to the start of the next; the last bar is the total itself."""
    x: list[float | None] = []
    y: list[float | None] = []
    for bar, row in zip(bars[:-1], rows, strict=False):
        x += [bar.end, bar.end, None]
        y += [row + 0.37, row - 1.37, None]
    return go.Scatter(x=x, y=y, yaxis="y2", mode="lines", line={"color": QUIET, "width": 1}, hoverinfo="skip")


def _forecast(bar: Bar) -> go.Scatter:
    """Theory's total, dotted, in the lowest row."""
    return go.Scatter(
        x=[bar.start, bar.end],
        y=[0, 0],
        mode="lines+markers",
        line={"color": bar.colour, "dash": "dot", "width": 2.5},
        marker={"symbol": ["line-ns-open", "diamond"], "size": [1, 10], "color": bar.colour},
        hovertemplate=f"theory: {numbers.typeset(bar.figure)} decades<extra></extra>",
    )


def _table(flow: GradientFlow) -> Table:
    every = flow_terms.pieces(flow)
    at = flow.log10_source_rms
    rows = [(LOSS, ", ".join(dict.fromkeys(op.op for op in flow.loss_ops)), said(at, 3), said(at, 3), "")]
    for piece in every:
        at += piece.decades
        rows.append((piece.block, _named(piece).removesuffix(f"  {piece.where}"), said(piece.decades, 3), said(at, 3), piece.where))
    total = (flow.target, "in all", said(flow.total, 3), said(flow.log10_target_rms, 3), "")
    kept = rows[:TABLE_ROWS]
    note = "" if len(kept) == len(rows) else f"The first {len(kept)} of {len(rows):,} terms; the flow's own table has all."
    return Table(("block", "operation", "decades", "log10 RMS after it", "source line"), (*kept, total), note)
