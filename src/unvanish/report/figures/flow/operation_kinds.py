"""Builds the bar chart of a flow's decades by kind of operation, and a sentence on the operation with the largest effect."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from unvanish.record.gradient_flow import ENDS, INTERFERENCE, SIZE, SPLIT, GradientFlow
from unvanish.report.figures.bar_chart import AXIS_MARGIN, build_row_axis, build_value_axis, choose_colour
from unvanish.report.figures.palette import QUIET
from unvanish.report.figures.picture import Picture, Table, build_axis_title, build_empty_figure
from unvanish.report.figures.run.gradient import NEGLIGIBLE_DECADES
from unvanish.report.views import flow_terms
from unvanish.report.views.flow_terms import format_signed_decades
from unvanish.report.wording import numbers

MAX_NAMES = 2  # operations that are named beside their kind
MIN_SHOWN_DECADES = 0.0005  # less is not visible in the third decimal
MIN_OPPOSING_SHARE = 0.1  # of the total: from this on, what acts against it is named in the title; our choice of words
SENTENCE_NAMES = {
    SPLIT: "the adding up of branches",
    INTERFERENCE: "interference between branches",
    SIZE: "the change of size",
    ENDS: "the number of outputs or inputs",
}
KIND_LABELS = {SIZE: "size (number of elements)", ENDS: "several outputs or inputs"}
KIND_MEANINGS = {
    SPLIT: "split (gradients of several branches add up)",
    INTERFERENCE: "interference (branches that cancel or reinforce)",
    SIZE: "size (the same gradient over more elements, or fewer)",
    ENDS: "several outputs or inputs",
}


def build_kinds_picture(flow: GradientFlow) -> Picture | None:
    """One bar a kind, the heaviest first; None where the flow has no finite total to share out."""
    kinds = flow_terms.sum_by_kind(flow)
    if not kinds or not math.isfinite(flow.total):
        return None
    title = describe_kinds(flow)
    shown = {kind: (decades, names) for kind, (decades, names) in kinds.items() if abs(decades) >= MIN_SHOWN_DECADES}
    if not shown:
        return None
    equation = " ".join(f"{'−' if decades < 0 else '+'} {abs(decades):.3f}" for decades, _ in shown.values())
    equation = equation[2:] if equation[0] == "+" else f"−{equation[2:]}"
    return Picture(
        name="kinds",
        title=f"{title[0].upper()}{title[1:]}",
        caption=f"Every operation's part of the way from the output to {flow_terms.format_target(flow)}, added up by kind: "
        f"{equation} = {numbers.typeset(f'{flow.total:.3f}')} decades.",
        text_alternative="Bar chart of decades by kind of operation: "
        + "; ".join(f"{format_kind(kind, names)} {format_signed_decades(decades)}" for kind, (decades, names) in shown.items())
        + ".",
        figure=_figure(shown),
        table=_table(flow, kinds),
    )


def describe_kinds(flow: GradientFlow) -> str:
    """Which operation changes the gradient most, and which acts most against it: "sigmoid takes 12.3 of the 17.2 decades lost …".

    Begins in lower case, so that it can follow other words. For a flow whose total is finite.
    """
    path = f"between the output and {flow_terms.format_target(flow)}"
    by_operation = flow_terms.sum_by_operation(flow)
    losses = {name: -decades for name, decades in by_operation.items() if decades < -MIN_SHOWN_DECADES}
    gains = {name: decades for name, decades in by_operation.items() if decades > MIN_SHOWN_DECADES}
    is_loss = flow.total < 0
    same_sign, opposing = (losses, gains) if is_loss else (gains, losses)
    if not same_sign:
        return f"no kind of operation changes the gradient's size {path}"
    name, largest = next(iter(same_sign.items()))
    name = SENTENCE_NAMES.get(name, name)
    verb, total, size = "takes" if is_loss else "adds", sum(same_sign.values()), abs(flow.total)
    if not opposing or sum(opposing.values()) < MIN_OPPOSING_SHARE * size:
        of_all = f"{largest:.1f} of the {max(size, largest):.1f} decades"
        part = f"{verb} {of_all}" if len(same_sign) > 1 else f"{verb} the {size:.1f} decades"
        return f"{name} {part} lost {path}" if is_loss else f"{name} {part} by which the gradient grows {path}"
    part = f"{verb} {largest:.1f} of {total:.1f} decades" if len(same_sign) > 1 else f"{verb} {largest:.1f} decades"
    opponent = next(iter(opposing))
    agent = f"{'above all ' if len(opposing) > 1 else ''}by {SENTENCE_NAMES.get(opponent, opponent)}"
    back = f"{sum(opposing.values()):.1f} {'are given' if is_loss else 'are taken'} back, {agent}".replace("back, by", "back by")
    net = (
        f"{size:.1f} {'are lost' if is_loss else 'are gained'}"
        if size >= NEGLIGIBLE_DECADES
        else "hardly anything is lost or gained"
    )
    return f"{name} {part} and {back}: {net} {path}"


def format_kind(kind: str, names: tuple[str, ...]) -> str:
    """The kind with the names of its operations that change most: "activation: sigmoid"."""
    if kind in KIND_MEANINGS:
        return KIND_LABELS.get(kind, kind)
    shown = ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
    return f"{kind}: {shown}" if names and names != (kind,) else kind


def _figure(kinds: dict[str, tuple[float, tuple[str, ...]]]) -> go.Figure:
    values = [decades for decades, _ in kinds.values()]
    rows = np.arange(len(values))[::-1].tolist()
    low, high = min(0.0, *values), max(0.0, *values)
    width = max(high - low, 0.1)
    limits = [low - AXIS_MARGIN * width, high + AXIS_MARGIN * width]
    hover = [
        f"<b>{KIND_MEANINGS.get(kind, kind)}</b>: {format_signed_decades(decades)} decades"
        + "".join(f"<br>{name}" for name in names if kind not in KIND_MEANINGS)
        for kind, (decades, names) in kinds.items()
    ]
    figure = build_empty_figure(
        72 + 32 * len(values),
        x={
            "title": build_axis_title("decades"),
            "range": limits[::-1] if sum(values) < 0 else limits,  # bars of the total's sign point to the right
            "zeroline": True,
            "zerolinecolor": QUIET,
            "tickangle": 0,
        },
        y=build_row_axis([format_kind(kind, names) for kind, (_, names) in kinds.items()]),
        yaxis2=build_value_axis([numbers.typeset(format_signed_decades(value)) for value in values]),
    )
    figure.add_trace(go.Scatter(x=[0], y=[0], yaxis="y2", mode="lines", hoverinfo="skip"))
    full_scale = max([1.0, *map(abs, values)])
    figure.add_trace(
        go.Bar(
            orientation="h",
            y=rows,
            x=values,
            width=0.72,
            marker={"color": [choose_colour(value, full_scale) for value in values], "line": {"width": 0}},
            customdata=[numbers.typeset(text) for text in hover],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    return figure


def _table(flow: GradientFlow, kinds: dict[str, tuple[float, tuple[str, ...]]]) -> Table:
    counts = dict.fromkeys(kinds, 0)
    for term in flow_terms.list_terms(flow):
        counts[term.kind] = counts.get(term.kind, 0) + 1
    rows = tuple(
        (kind, ", ".join(names), f"{counts[kind]:,}", f"{decades:+.3f}", f"{decades / flow.total:.0%}" if flow.total else "")
        for kind, (decades, names) in kinds.items()
    )
    return Table(
        ("kind", "operations", "how many", "decades", "of the total"), (*rows, ("in all", "", "", f"{flow.total:+.3f}", ""))
    )
