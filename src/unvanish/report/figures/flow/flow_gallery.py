"""The pictures of one traced flow, in the order in which they are read: where and what takes the gradient, theory, time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from unvanish.record.flow import GradientFlow
from unvanish.record.prediction import Prediction
from unvanish.record.spectrum import JacobianSpectrum
from unvanish.report.figures.flow.depth import depth_picture
from unvanish.report.figures.flow.operation_kinds import kinds_picture
from unvanish.report.figures.flow.spectrum import spectrum_picture
from unvanish.report.figures.flow.time import time_picture
from unvanish.report.figures.flow.waterfall import waterfall_picture
from unvanish.report.figures.picture import Picture


def flow_gallery(
    flow: GradientFlow, prediction: Prediction | None = None, spectra: Sequence[JacobianSpectrum] = ()
) -> tuple[Picture, ...]:
    """The pictures for which there is something to show; their names are unique on a page."""
    drawn = (
        waterfall_picture(flow, prediction),
        kinds_picture(flow),
        depth_picture(flow, prediction),
        time_picture(flow),
        spectrum_picture(spectra),
    )
    return tuple(picture for picture in drawn if picture is not None)


def flow_figure(flow: GradientFlow) -> go.Figure:
    """The waterfall alone, with its title, for a notebook; an empty figure that says so where nothing was traced."""
    picture = waterfall_picture(flow)
    if picture is None:
        return go.Figure(layout={"title": {"text": "No gradient was traced"}})
    figure = go.Figure(picture.figure)
    height: Any = figure.layout["height"]  # pyright: ignore[reportCallIssue, reportArgumentType]
    return figure.update_layout(title={"text": picture.title, "x": 0, "font": {"size": 16}}, height=height + 44, margin={"t": 52})
