"""The pictures of a traced gradient: titles, captions, text alternatives, tables and what is folded."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import example_flows as flows
import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.record.gradient_flow import SIZE, GradientFlow, Junction
from unvanish.record.theory_prediction import Prediction
from unvanish.report.figures.bar_chart import choose_colour
from unvanish.report.figures.flow.depth import build_depth_picture
from unvanish.report.figures.flow.flow_gallery import build_flow_figure, build_flow_pictures
from unvanish.report.figures.flow.operation_kinds import build_kinds_picture, describe_kinds
from unvanish.report.figures.flow.spectrum import build_spectrum_picture
from unvanish.report.figures.flow.time import build_time_picture, describe_time_profile
from unvanish.report.figures.flow.waterfall import build_waterfall_picture
from unvanish.report.figures.picture import Picture
from unvanish.report.views import flow_terms


def require(picture: Picture | None) -> Picture:
    assert picture is not None
    return picture


def bars(picture: Picture) -> list[go.Bar]:
    return [trace for trace in picture.figure.data if isinstance(trace, go.Bar)]


def labels(picture: Picture) -> list[str]:
    return list(picture.figure.layout.yaxis.ticktext)


def with_block(flow: GradientFlow, block: str) -> GradientFlow:
    return replace(flow, ops=tuple(replace(op, block=block) for op in flow.ops))


@pytest.mark.parametrize(
    "flow", [flows.make_chain(4), flows.make_chain(300), flows.make_residual(40), flows.make_chain(9, sigmoid=0.5)]
)
def test_bars_join_and_end_at_the_measured_total(flow: GradientFlow) -> None:
    bar_traces = bars(require(build_waterfall_picture(flow)))
    *steps, total = bar_traces
    assert steps[0].base[0] == 0
    for before, after in pairwise(steps):
        assert after.base[0] == pytest.approx(before.base[0] + before.x[0])
    assert steps[-1].base[0] + steps[-1].x[0] == pytest.approx(flow.log10_target_rms)
    assert total.base[0] == flow.log10_source_rms
    assert total.x[0] == pytest.approx(flow.total)


def test_bars_of_a_small_network_are_its_blocks_from_the_loss_to_the_input() -> None:
    picture = require(build_waterfall_picture(flows.make_chain(3)))
    assert labels(picture) == ["loss: nll_loss, log_softmax", "net.4", "net.2 … net.3", "net.0 … net.1", "<b>output → input</b>"]
    assert list(picture.figure.layout.yaxis2.ticktext) == ["−1.50", "−0.20", "−0.80", "−0.80", "<b>−1.80</b>"]
    assert picture.title == "The gradient loses 1.8 decades from the output to the input, 0.8 of them in net.2 … net.3"


@pytest.mark.parametrize("layers", [50, 10_000])
def test_many_blocks_are_grouped_evenly_and_named_by_their_ends(layers: int) -> None:
    groups = flow_terms.group_terms(flows.make_chain(layers), 18)
    assert 9 <= len(groups) <= 18
    assert sum(group.member_count for group in groups) == layers
    inner = [group.member_count for group in groups[1:-1]]
    assert max(inner) - min(inner) <= 1
    assert all(len(group.format_name(26)) <= 26 for group in groups)
    if layers == 50:
        assert (
            groups[-2].format_name(30)
            == f"net.{2 * (groups[-1].member_count)} … net.{2 * (groups[-1].member_count + inner[-1]) - 1} ({inner[-1]} blocks)"
        )


def test_a_block_with_a_large_change_is_not_grouped_with_its_neighbours() -> None:
    flow = flows.make_chain(200, sigmoid=-0.01, linear=-0.01)
    ops = tuple(
        replace(op, decades=-2.0, log10_gradient_in=op.log10_gradient_out - 2.0) if op.label == "net.101" else op for op in flow.ops
    )
    flow = replace(flow, ops=ops, log10_target_rms=flow.log10_target_rms - 1.99)
    groups = flow_terms.group_terms(flow, 18)
    assert [group.names for group in groups if group.decades < -1] == [("net.100 … net.101",)]
    assert require(build_waterfall_picture(flow)).title.endswith("2.0 of them in net.100 … net.101")


def test_a_network_of_one_block_shows_its_operations() -> None:
    picture = require(build_waterfall_picture(with_block(flows.make_chain(3), "net")))
    assert labels(picture)[1:-1] == ["net.4", "net.3", "net.2", "net.1", "net.0"]
    assert "operations" not in picture.caption
    assert "59 operations in" in require(build_waterfall_picture(with_block(flows.make_chain(30), "net"))).caption


def test_losses_and_gains_have_different_colours() -> None:
    def channels(text: str) -> list[int]:
        return [int(part) for part in text.removeprefix("rgb(").removesuffix(")").split(",")]

    red, _, blue = channels(choose_colour(-1.0, 1.0))
    assert blue > red
    red, _, blue = channels(choose_colour(1.0, 1.0))
    assert red > blue
    assert sum(channels(choose_colour(-0.1, 1.0))) > sum(channels(choose_colour(-1.0, 1.0)))


def test_where_nothing_arrives_the_title_says_where_it_ends_and_the_bars_are_hatched() -> None:
    flow = flows.make_blocked_chain()
    picture = require(build_waterfall_picture(flow))
    assert picture.title == "No gradient at all arrives at the input; it ends at net.5"
    assert [bar.marker.pattern.shape for bar in bars(picture)] == [None, None, "/", "/"]
    assert labels(picture)[1] == "output … net.5"
    assert bars(picture)[1].x[0] == pytest.approx(-0.2 - 0.6 - 0.2)
    assert picture.legend[0][0] == "hatched"
    assert build_kinds_picture(flow) is None
    assert require(build_depth_picture(flow)).title == "No gradient reaches the input; the last to get any is net.5"


def test_a_total_that_is_not_a_number_is_named_in_the_title() -> None:
    flow = replace(flows.make_chain(3), log10_target_rms=math.nan)
    assert require(build_waterfall_picture(flow)).title == "What arrives at the input is not a finite number"
    assert bars(require(build_waterfall_picture(flow)))[-1].marker.pattern.shape == "/"


def test_a_loss_without_a_gradient_is_named_in_the_title() -> None:
    flow = replace(flows.make_chain(3), ops=(), log10_source_rms=-math.inf, log10_target_rms=-math.inf)
    picture = require(build_waterfall_picture(flow))
    assert picture.title == "The loss hands no gradient to the output"
    assert [bar.marker.pattern.shape for bar in bars(picture)] == ["/", "/"]


def test_growth_and_hardly_any_change_have_titles_of_their_own() -> None:
    assert require(build_waterfall_picture(flows.make_chain(30, sigmoid=0.1, linear=0.1))).title.startswith(
        "The gradient grows by 5.9 decades"
    )
    level = require(build_waterfall_picture(flows.make_chain(30, sigmoid=0.1, linear=-0.1)))
    assert level.title == "The gradient arrives at the input about as large as it left the output"


def test_a_flow_to_a_parameter_names_it() -> None:
    flow = replace(flows.make_chain(3), target="net.0.weight")
    picture = require(build_waterfall_picture(flow, flows.make_prediction(3)))
    assert "from the output to net.0.weight" in picture.title
    assert labels(picture)[-1] == "<b>output → net.0.weight</b>"


def test_the_prediction_is_shown_under_the_total_where_it_has_a_number() -> None:
    flow = flows.make_chain(30)
    assert labels(require(build_waterfall_picture(flow, flows.make_prediction(30))))[-1] == "theory"
    assert "theory" not in labels(require(build_waterfall_picture(flow, Prediction(None, reason="a branch"))))
    assert "theory" not in labels(require(build_waterfall_picture(flows.make_blocked_chain(), flows.make_prediction(5))))


def test_kinds_add_up_to_the_total_in_the_caption() -> None:
    picture = require(build_kinds_picture(flows.make_chain(30)))
    assert picture.title == "Sigmoid takes 17.4 of the 23.4 decades lost between the output and the input"
    assert picture.caption.endswith("−17.400 − 6.000 = −23.400 decades.")
    (bar_traces,) = bars(picture)
    assert math.fsum(bar_traces.x) == pytest.approx(flows.make_chain(30).total)
    assert labels(picture) == ["activation: sigmoid", "weight: linear"]


@pytest.mark.parametrize(
    ("flow", "words"),
    [
        (
            flows.make_chain(10, sigmoid=-2.0, linear=1.0),
            "sigmoid takes 18.0 decades and 10.0 are given back by linear: 8.0 are lost",
        ),
        (
            flows.make_chain(10, sigmoid=-0.5, linear=1.0),
            "linear adds 10.0 decades and 4.5 are taken back by sigmoid: 5.5 are gained",
        ),
        (flows.make_chain(10, sigmoid=0.5, linear=0.5), "linear adds 5.0 of the 9.5 decades by which the gradient grows"),
        (flows.make_chain(10, sigmoid=0.0, linear=0.0), "no kind of operation changes the gradient's size"),
    ],
)
def test_the_sentence_names_the_operations_that_lose_and_gain_most(flow: GradientFlow, words: str) -> None:
    assert describe_kinds(flow).startswith(words)


def test_split_interference_and_size_have_bars_of_their_own() -> None:
    flow = flows.make_residual(12)
    ops = (replace(flow.ops[0], size=-0.7), *flow.ops[1:])
    flow = replace(flow, ops=ops, log10_target_rms=flow.log10_target_rms - 0.7)
    picture = require(build_kinds_picture(flow))
    assert labels(picture) == ["split", "size (number of elements)", "weight: linear", "activation: sigmoid", "interference"]
    assert math.fsum(bars(picture)[0].x) == pytest.approx(flow.total)
    assert SIZE in [piece.kind for piece in flow_terms.group_terms(flow, 20)[-1].terms]


def test_a_junction_comes_before_the_operation_that_made_the_tensor() -> None:
    flow = replace(flows.make_chain(3), junctions=(Junction("net.1", "", "net.0 … net.1", 2, 1.0, 0.3, -0.1),))
    assert [piece.label for piece in flow_terms.list_terms(flow)][2:5] == ["net.2", "split after net.1", "interference after net.1"]


def test_theory_is_drawn_where_each_layer_begins() -> None:
    flow, prediction = flows.make_chain(4), flows.make_prediction(4, off=0.0)
    picture = require(build_depth_picture(flow, prediction))
    measured, theory = (trace for trace in picture.figure.data if isinstance(trace, go.Scatter))
    assert list(theory.text) == ["input", "net.0", "net.2", "net.4", "net.6"]
    assert list(theory.x) == [0, 1, 3, 5, 7]
    assert list(theory.y) == pytest.approx([flow.total * share for share in (1, 0.75, 0.5, 0.25, 0)])
    assert measured.y[0] == pytest.approx(flow.total)
    assert measured.y[-1] == pytest.approx(0)
    assert picture.title == "Theory says -2.6 decades from the output to the input, measured -2.6"


def test_theory_follows_a_normalisation_to_the_next_layer() -> None:
    flow = flows.make_chain(3)
    ops = tuple(replace(op, kind="normalisation") if op.label == "net.1" else op for op in flow.ops)
    picture = require(build_depth_picture(replace(flow, ops=ops), flows.make_prediction(3)))
    theory = picture.figure.data[-1]
    assert list(theory.text) == ["input", "net.1", "net.2", "net.4"]


def test_without_a_prediction_the_reason_is_in_the_caption() -> None:
    picture = require(build_depth_picture(flows.make_chain(4), Prediction(None, reason="the length map is unstable.")))
    assert picture.caption.endswith("Theory gives no number here: the length map is unstable.")
    assert len(picture.figure.data) == 1
    assert picture.title == "The gradient is faintest at the input: -2.6 decades against the output"


def test_a_deep_network_has_a_limited_number_of_points() -> None:
    picture = require(build_depth_picture(flows.make_chain(3000), flows.make_prediction(3000)))
    assert len(picture.figure.data[0].x) == 2000
    assert len(picture.table.rows) == 100
    assert "100 of 6,000 places" in picture.table.note


def test_no_gradient_is_hatched_in_one_piece() -> None:
    (hatching,) = bars(require(build_depth_picture(flows.make_blocked_chain())))
    assert (hatching.x[0], hatching.width[0]) == (2.5, 6)


def test_time_is_drawn_against_the_last_step_with_its_horizon() -> None:
    flow = replace(flows.make_chain(3), times=(flows.make_time_profile(40, slope=-0.25),))
    picture = require(build_time_picture(flow))
    dots, group = picture.figure.data
    assert list(dots.y[:3]) == pytest.approx([0, -0.25, -0.5])
    assert group.y[0] is None
    assert list(group.y[1:3]) == pytest.approx([-0.25, -0.5])
    assert picture.figure.layout.shapes[0].x0 == pytest.approx(12)
    assert picture.figure.layout.annotations[0].text == "horizon of rnn: twelve steps"
    assert picture.title.endswith("loses 0.25 decades a step: after twelve steps less than a thousandth is left")


def test_a_horizon_beyond_the_steps_traced_is_not_drawn() -> None:
    picture = require(build_time_picture(replace(flows.make_chain(3), times=(flows.make_time_profile(10, slope=-0.1),))))
    assert not picture.figure.layout.shapes
    assert "after 30 steps" in picture.title


def test_recurrences_differ_in_colour_and_dash_and_the_steepest_is_in_the_title() -> None:
    times = (flows.make_time_profile(20, slope=-0.01, name="a.weight"), flows.make_time_profile(30, slope=-0.4, name="b.weight"))
    picture = require(build_time_picture(replace(flows.make_chain(3), times=times)))
    groups = [trace.line for trace in picture.figure.data if trace.mode == "lines"]
    assert len({group.color for group in groups}) == len({group.dash for group in groups}) == 2
    assert picture.title.startswith("Through b.weight")


@pytest.mark.parametrize(
    ("slope", "words"),
    [
        (0.2, "grows by 0.20 decades a step"),
        (0.001, "hardly changes over 8 steps"),
        (-math.inf, "no gradient is carried back"),
        (math.nan, "not a number"),
    ],
)
def test_every_slope_through_time_has_its_words(slope: float, words: str) -> None:
    assert words in describe_time_profile(replace(flows.make_time_profile(8), decades_per_step=slope, horizon=None))


def test_spectrum_is_a_histogram_of_all_directions() -> None:
    picture = require(build_spectrum_picture([flows.make_spectrum(values=(-3.0, -2.0, -1.0, 0.5))]))
    (bar_traces,) = bars(picture)
    assert math.fsum(bar_traces.y) == pytest.approx(1)
    marks = {trace.name: trace.x[0] for trace in picture.figure.data if isinstance(trace, go.Scatter)}
    assert marks == {"smallest −3.00": -3.0, "mean −1.38": pytest.approx(np.mean([-3, -2, -1, 0.5])), "largest +0.50": 0.5}
    assert picture.title == "From the input to the output, singular values are typically 0.042, and span 3.5 decades"


def test_zero_singular_values_are_hatched_apart() -> None:
    picture = require(build_spectrum_picture([flows.make_spectrum(zeros=4)]))
    bar_traces, zeros = bars(picture)
    assert math.fsum(bar_traces.y) == pytest.approx(0.5)
    assert zeros.y[0] == pytest.approx(0.5)
    assert zeros.marker.pattern.shape == "/"
    assert "50 % of all directions are lost" in picture.title


def test_equal_singular_values_have_one_bar() -> None:
    picture = require(build_spectrum_picture([flows.make_spectrum(values=(0.0,) * 8)]))
    assert sorted(bars(picture)[0].y)[-2:] == [0, 1]
    assert picture.title == "From the input to the output, all directions fare alike: their singular values are about 1.0"


def test_several_spectra_are_ranges_and_an_estimate_is_named_as_such() -> None:
    spectra = [flows.make_spectrum(f"net.{i}") for i in range(30)]
    spectra[-1] = replace(spectra[-1], exact=False, mean_standard_error=0.02, smallest_converged=False)
    picture = require(build_spectrum_picture(spectra))
    assert len(labels(picture)) == 18
    assert "standard error of the mean 0.02 decades" in picture.caption
    assert "the smallest is an upper bound" in picture.caption
    assert len(picture.table.rows) == 30


def test_the_gallery_leaves_out_what_was_not_measured() -> None:
    assert [picture.name for picture in build_flow_pictures(flows.make_chain(4))] == ["waterfall", "kinds", "depth"]
    flow = replace(flows.make_chain(4), times=(flows.make_time_profile(9),))
    shown = build_flow_pictures(flow, flows.make_prediction(4), (flows.make_spectrum(),))
    assert [picture.name for picture in shown] == ["waterfall", "kinds", "depth", "time", "spectrum"]
    assert build_flow_pictures(replace(flows.make_chain(1), ops=(), log10_source_rms=math.nan, log10_target_rms=math.nan)) == ()


def test_a_notebook_gets_the_waterfall_with_its_title() -> None:
    figure = build_flow_figure(flows.make_chain(4))
    assert figure.layout.title.text.startswith("The gradient loses 2.6 decades")
    assert len(figure.data) == len(require(build_waterfall_picture(flows.make_chain(4))).figure.data)


SIZES = st.sampled_from([0.0, -0.3, 2.0, 1e-12, -40.0, math.nan, math.inf, -math.inf])


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_flow_has_pictures_with_full_tables(data: st.DataObject) -> None:
    flow = flows.make_residual(data.draw(st.integers(1, 30)))
    ops = tuple(replace(op, decades=data.draw(SIZES), log10_gradient_out=data.draw(SIZES)) for op in flow.ops)
    time = replace(
        flows.make_time_profile(4), log10_gradient_rms=tuple(data.draw(SIZES) for _ in range(4)), decades_per_step=data.draw(SIZES)
    )
    flow = replace(flow, ops=ops, log10_target_rms=data.draw(SIZES), log10_source_rms=data.draw(SIZES), times=(time,))
    for picture in build_flow_pictures(flow, flows.make_prediction(4), (flows.make_spectrum(zeros=data.draw(st.integers(0, 3))),)):
        assert picture.title
        assert picture.text_alternative
        assert "nan" not in picture.title
        assert "<" not in picture.title + picture.caption + picture.text_alternative
        assert {len(row) for row in picture.table.rows} == {len(picture.table.header)}
        assert json.loads(picture.figure.to_json())["data"]
