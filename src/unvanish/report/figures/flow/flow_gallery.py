"""Collects the pictures of one traced gradient flow: waterfall, kinds of operation, depth, time and Jacobian spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from unvanish.record.gradient_flow import GradientFlow
from unvanish.record.jacobian_spectrum import JacobianSpectrum
from unvanish.record.theory_prediction import Prediction
from unvanish.report.figures.flow.depth import build_depth_picture
from unvanish.report.figures.flow.operation_kinds import build_kinds_picture
from unvanish.report.figures.flow.spectrum import build_spectrum_picture
from unvanish.report.figures.flow.time import build_time_picture
from unvanish.report.figures.flow.waterfall import build_waterfall_picture
from unvanish.report.figures.picture import Picture


def build_flow_pictures(
    flow: GradientFlow, prediction: Prediction | None = None, spectra: Sequence[JacobianSpectrum] = ()
) -> tuple[Picture, ...]:
    """The pictures for which there are data, in the order of the page; their names are unique on a page."""
    pictures = (
        build_waterfall_picture(flow, prediction),
        build_kinds_picture(flow),
        build_depth_picture(flow, prediction),
        build_time_picture(flow),
        build_spectrum_picture(spectra),
    )
    return tuple(picture for picture in pictures if picture is not None)


def build_flow_figure(flow: GradientFlow) -> go.Figure:
    """The waterfall as a plotly figure with its title, for a notebook; an empty figure with a title where nothing was traced."""
    picture = build_waterfall_picture(flow)
    if picture is None:
        return go.Figure(layout={"title": {"text": "No gradient was traced"}})
    figure = go.Figure(picture.figure)
    height: Any = figure.layout["height"]  # pyright: ignore[reportCallIssue, reportArgumentType]
    return figure.update_layout(title={"text": picture.title, "x": 0, "font": {"size": 16}}, height=height + 44, margin={"t": 52})
