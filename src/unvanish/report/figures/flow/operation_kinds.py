"""The decades of a flow by kind of operation: one bar each for activations, weights, normalisations, and where gradients meet."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from unvanish.record.flow import ENDS, INTERFERENCE, SIZE, SPLIT, GradientFlow
from unvanish.report.figures.bar_chart import MARGIN, colour, figures_beside, labels
from unvanish.report.figures.palette import QUIET
from unvanish.report.figures.picture import Picture, Table, canvas, titled
from unvanish.report.figures.run.gradient import FLAT
from unvanish.report.views import flow_terms
from unvanish.report.views.flow_terms import said
from unvanish.report.wording import numbers

NAMES = 2  # operations that are named beside their kind
SLIGHT = 0.0005  # decades that the third decimal no longer shows
GIVEN_BACK = 0.1  # what acts against the total is named in the title from this share of the total on; our choice of words
IN_A_SENTENCE = {
    SPLIT: "the adding up of branches",
    INTERFERENCE: "interference between branches",
    SIZE: "the change of size",
    ENDS: "the number of outputs or inputs",
}
LABELS = {SIZE: "size (number of elements)", ENDS: "several outputs or inputs"}
MEANT = {
    SPLIT: "split (gradients of several branches add up)",
    INTERFERENCE: "interference (branches that cancel or reinforce)",
    SIZE: "size (the same gradient over more elements, or fewer)",
    ENDS: "several outputs or inputs",
}


def kinds_picture(flow: GradientFlow) -> Picture | None:
    """One bar a kind, the heaviest first; None where the flow has no finite total to share out."""
    kinds = flow_terms.by_kind(flow)
    if not kinds or not math.isfinite(flow.total):
        return None
    title = sentence(flow)
    drawn = {kind: found for kind, found in kinds.items() if abs(found[0]) >= SLIGHT}
    if not drawn:
        return None
    exact = " ".join(f"{'−' if decades < 0 else '+'} {abs(decades):.3f}" for decades, _ in drawn.values())
    exact = exact[2:] if exact[0] == "+" else f"−{exact[2:]}"
    return Picture(
        name="kinds",
        title=f"{title[0].upper()}{title[1:]}",
        caption=f"Every operation's part of the way from the output to {flow_terms.end(flow)}, added up by kind: "
        f"{exact} = {numbers.typeset(f'{flow.total:.3f}')} decades.",
        alternative="Bar chart of decades by kind of operation: "
        + "; ".join(f"{kind_label(kind, names)} {said(decades)}" for kind, (decades, names) in drawn.items())
        + ".",
        figure=_figure(drawn),
        table=_table(flow, kinds),
    )


def sentence(flow: GradientFlow) -> str:
    """Which operation does most to the gradient, and which acts most against it: "sigmoid takes 12.3 of the 17.2 decades lost …".

    Without a capital, so that it can follow other words. For a finite total.
    """
    way = f"between the output and {flow_terms.end(flow)}"
    named = flow_terms.by_name(flow)
    losses = {name: -decades for name, decades in named.items() if decades < -SLIGHT}
    gains = {name: decades for name, decades in named.items() if decades > SLIGHT}
    lost = flow.total < 0
    along, against = (losses, gains) if lost else (gains, losses)
    if not along:
        return f"no kind of operation changes the gradient's size {way}"
    name, most = next(iter(along.items()))
    name = IN_A_SENTENCE.get(name, name)
    verb, whole, size = "takes" if lost else "adds", sum(along.values()), abs(flow.total)
    if not against or sum(against.values()) < GIVEN_BACK * size:
        part = f"{verb} {most:.1f} of the {max(size, most):.1f} decades" if len(along) > 1 else f"{verb} the {size:.1f} decades"
        return f"{name} {part} lost {way}" if lost else f"{name} {part} by which the gradient grows {way}"
    part = f"{verb} {most:.1f} of {whole:.1f} decades" if len(along) > 1 else f"{verb} {most:.1f} decades"
    opponent = next(iter(against))
    rival = f"{'above all ' if len(against) > 1 else ''}by {IN_A_SENTENCE.get(opponent, opponent)}"
    back = f"{sum(against.values()):.1f} {'are given' if lost else 'are taken'} back, {rival}".replace("back, by", "back by")
    left = f"{size:.1f} {'are lost' if lost else 'are gained'}" if size >= FLAT else "hardly anything is lost or gained"
    return f"{name} {part} and {back}: {left} {way}"


def kind_label(kind: str, names: tuple[str, ...]) -> str:
    """The kind with its heaviest operations: "activation: sigmoid"."""
    if kind in MEANT:
        return LABELS.get(kind, kind)
    shown = ", ".join(names[:NAMES]) + (", …" if len(names) > NAMES else "")
    return f"{kind}: {shown}" if names and names != (kind,) else kind


def _figure(kinds: dict[str, tuple[float, tuple[str, ...]]]) -> go.Figure:
    values = [decades for decades, _ in kinds.values()]
    rows = np.arange(len(values))[::-1].tolist()
    low, high = min(0.0, *values), max(0.0, *values)
    reach = max(high - low, 0.1)
    limits = [low - MARGIN * reach, high + MARGIN * reach]
    hover = [
        f"<b>{MEANT.get(kind, kind)}</b>: {said(decades)} decades" + "".join(f"<br>{name}" for name in names if kind not in MEANT)
        for kind, (decades, names) in kinds.items()
    ]
    figure = canvas(
        72 + 32 * len(values),
        x={
            "title": titled("decades"),
            "range": limits[::-1] if sum(values) < 0 else limits,  # what goes the way of the total goes to the right
            "zeroline": True,
            "zerolinecolor": QUIET,
            "tickangle": 0,
        },
        y=labels([kind_label(kind, names) for kind, (_, names) in kinds.items()]),
        yaxis2=figures_beside([numbers.typeset(said(value)) for value in values]),
    )
    figure.add_trace(go.Scatter(x=[0], y=[0], yaxis="y2", mode="lines", hoverinfo="skip"))
    most = max([1.0, *map(abs, values)])
    figure.add_trace(
        go.Bar(
            orientation="h",
            y=rows,
            x=values,
            width=0.72,
            marker={"color": [colour(value, most) for value in values], "line": {"width": 0}},
            customdata=[numbers.typeset(text) for text in hover],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    return figure


def _table(flow: GradientFlow, kinds: dict[str, tuple[float, tuple[str, ...]]]) -> Table:
    count = dict.fromkeys(kinds, 0)
    for piece in flow_terms.pieces(flow):
        count[piece.kind] = count.get(piece.kind, 0) + 1
    rows = tuple(
        (kind, ", ".join(names), f"{count[kind]:,}", f"{decades:+.3f}", f"{decades / flow.total:.0%}" if flow.total else "")
        for kind, (decades, names) in kinds.items()
    )
    return Table(
        ("kind", "operations", "how many", "decades", "of the total"), (*rows, ("in all", "", "", f"{flow.total:+.3f}", ""))
    )
