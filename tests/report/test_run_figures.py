"""The pictures of a training: what they show, their tables, and which are left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest
from example_runs import RACE, VANISHING, make_run, make_structure

from unvanish.record.run import Run
from unvanish.record.structure import Network
from unvanish.report.figures.gallery import build_gallery
from unvanish.report.figures.picture import Picture
from unvanish.report.figures.run.gradient import build_gradient_picture
from unvanish.report.views.gradient_by_depth import compute_gradient_by_depth


def find_picture(run: Run, name: str) -> Picture:
    return next(picture for picture in build_gallery(run, [VANISHING]).all_pictures() if picture.name == name)


def find_heatmap(picture: Picture) -> go.Heatmap:
    return next(trace for trace in picture.figure.data if isinstance(trace, go.Heatmap))


def test_gradient_is_relative_to_the_site_nearest_the_loss(sick: Run) -> None:
    heatmap = find_heatmap(find_picture(sick, "gradient"))
    assert np.allclose(np.asarray(heatmap.z)[-1], 0)
    assert np.allclose(np.asarray(heatmap.z)[0], -6.1)


def test_gradient_title_states_the_decades_that_were_measured() -> None:
    titles = {decades: find_picture(make_run(decades=decades), "gradient").title for decades in (-6.1, -1.2, -0.2, 3.4)}
    assert titles == {
        -6.1: "The gradient loses about 6 decades on its way to the first layer",
        -1.2: "The gradient loses 1.2 decades on its way to the first layer",
        -0.2: "The gradient reaches the first layer about as large as it left the loss",
        3.4: "The gradient grows by about 3 decades on its way to the first layer",
    }


def test_colours_are_symmetric_with_white_at_zero(sick: Run) -> None:
    for name in ("gradient", "spread"):
        heatmap = find_heatmap(find_picture(sick, name))
        assert heatmap.zmin == -heatmap.zmax
        middle = [colour for position, colour in heatmap.colorscale if position == 0.5]
        assert middle == ["#ffffff"]


def test_step_axis_is_true_to_the_steps_between_samples() -> None:
    heatmap = find_heatmap(find_picture(make_run(sampled=[1, 2, 10, 300]), "gradient"))
    assert np.asarray(heatmap.x).tolist() == [0.5, 1.5, 6.0, 155.0, 300.5]


def test_sick_region_is_framed_and_named(sick: Run) -> None:
    figure = find_picture(sick, "gradient").figure
    (frame,) = figure.layout.shapes
    rows = 19
    assert (frame.y0, frame.y1) == (0, pytest.approx(13 / rows))
    assert figure.layout.annotations[0].text == "vanishing gradient"


def test_healthy_run_has_no_frame(healthy: Run) -> None:
    picture = build_gradient_picture(healthy)
    assert picture is not None
    assert not picture.figure.layout.shapes


def test_an_exact_zero_is_named_and_not_drawn_as_a_gap(sick: Run) -> None:
    values = sick.readings["log10_gradient_rms"].copy()
    values[:, 0] = -np.inf
    picture = find_picture(replace(sick, readings={**sick.readings, "log10_gradient_rms": values}), "gradient")
    assert picture.title == "Nothing of the gradient arrives at the first layer"
    assert np.isfinite(np.asarray(find_heatmap(picture).z)[0]).all()
    assert "exactly zero" in picture.table.rows[-1]


def test_what_is_not_a_number_is_hatched_and_explained(diverged: Run) -> None:
    picture = find_picture(diverged, "gradient")
    bars = [trace for trace in picture.figure.data if isinstance(trace, go.Bar)]
    assert [bar.marker.pattern.shape for bar in bars] == ["/"]
    assert ("hatched", "not a number (NaN or infinite)") in picture.legend
    assert picture.title == "From step 5 on the gradient is not a number"
    assert find_picture(diverged, "loss").title == "From step 5 on the loss is not a number"


def test_what_was_not_measured_is_grey_and_explained(sick: Run) -> None:
    values = sick.readings["log10_gradient_rms"].copy()
    values[3, 4] = np.nan
    picture = find_picture(replace(sick, readings={**sick.readings, "log10_gradient_rms": values}), "gradient")
    assert np.isnan(np.asarray(find_heatmap(picture).z)[4, 3])
    assert picture.legend == (("unmeasured", "not measured"),)


def test_figures_without_readings_are_left_out(sick: Run) -> None:
    bare = replace(sick, readings={}, losses=np.full((300, 1), np.nan))
    assert build_gallery(bare, [VANISHING]).all_pictures() == ()


def test_large_networks_and_long_runs_stay_readable() -> None:
    picture = find_picture(make_run(depth=200, decades=-20.0, steps=5000, sampled=range(1, 5001, 5)), "gradient")
    z = np.asarray(find_heatmap(picture).z)
    assert z.shape == (60, 200)
    assert "60 of 200 layers with weights, of 399 sites, evenly chosen" in picture.caption
    assert "200 of 1000 sampled steps" in picture.caption
    assert len(picture.figure.layout.yaxis.ticktext) <= 25
    assert len(picture.table.header) == 11


def test_two_networks_have_a_reference_each() -> None:
    run = make_run(depth=4, decades=-3.0)
    tree = make_structure(4)
    sites = tuple(replace(site, network=index // 4) for index, site in enumerate(tree.sites))
    two = replace(run, structure=replace(tree, networks=(Network("one", "A"), Network("two", "B")), sites=sites))
    gradient = compute_gradient_by_depth(two)
    assert gradient is not None
    assert np.flatnonzero(np.all(gradient.relative == 0, axis=0)).tolist() == [3, 6]
    assert gradient.rows.labels[0] == "one.net.0"


def test_saturation_is_drawn_only_where_it_is_large_enough() -> None:
    assert "the sigmoid is flat for 80 % of its inputs" in find_picture(make_run(saturated=0.8), "stuck").title
    quiet = make_run(saturated=0.01)
    assert "stuck" not in [picture.name for picture in build_gallery(quiet).all_pictures()]
    assert "No activation is flat for more than 1.0 % of its inputs." in find_picture(quiet, "spread").caption


def test_updates_are_compared_with_the_usual_thousandth(healthy: Run) -> None:
    assert find_picture(healthy, "updates").title == "Every step moves the weights by about a thousandth of their size, as is usual"
    slow = find_picture(make_run(decades=-6.0), "updates")
    assert slow.title == "3 of 10 weight matrices move less than a ten-thousandth of their size a step"
    assert "CS231n" in slow.caption
    assert len(slow.figure.data) == 6


def test_race_figure_has_a_dot_and_an_interval_for_each_candidate(raced: Run) -> None:
    picture = find_picture(raced, "race")
    assert len(picture.figure.data) == 3
    first = picture.figure.data[0]
    assert (first.error_x.array[0], first.error_x.arrayminus[0]) == (pytest.approx(0.02), pytest.approx(0.02))
    assert "relu + he-init +0.86 [+0.84, +0.88], cured" in picture.text_alternative
    lost = replace(raced, race=replace(RACE, winner=None))
    assert "nothing is proved to be better" in find_picture(lost, "race").title


def test_every_table_row_is_as_long_as_its_header(raced: Run, diverged: Run) -> None:
    for run in (raced, diverged):
        for picture in build_gallery(run, [VANISHING]).all_pictures():
            assert picture.table.rows
            assert {len(row) for row in picture.table.rows} == {len(picture.table.header)}
