"""Tests of every demo at toy size: trainings, summary, JSON document and page; and of the demos' data and measurements."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch
from demo_sizes import TOYS
from torch import nn

from unvanish.demos.activations import NETWORK_KINDS, build_plain_network
from unvanish.demos.adding_problem import TARGET_VARIANCE, draw_sequences, draw_test_sequences
from unvanish.demos.digits import load_digits_split
from unvanish.demos.run_demo import run_demo
from unvanish.demos.weight_gradients import build_gradient_profile, gradient_loss_measure, measure_weight_gradients
from unvanish.record.demo_result import DemoOutcome, DemoResult, TrainingEnding, TrainingResult
from unvanish.report import demo_json
from unvanish.report.page import demo_page


@pytest.fixture(scope="module", params=list(TOYS))
def demo_result(request: pytest.FixtureRequest) -> DemoResult:
    return run_demo(request.param, TOYS[request.param], jobs=1, progress=lambda _: None)


def test_a_demo_runs_every_training_and_summarises_the_results(demo_result: DemoResult) -> None:
    demo = TOYS[demo_result.name]
    assert len(demo_result.trainings) == len(demo.trainings())
    assert demo_result.outcome in (DemoOutcome.SHOWN, DemoOutcome.NOT_SHOWN)
    summary = demo_result.summary
    assert summary.title[0].isupper() or summary.title[0].isdigit()
    assert summary.title.endswith(".")
    assert summary.remedy_call.startswith("unvanish.apply(model, ")
    assert all(len(row) == len(summary.table.columns) for row in summary.table.rows)
    assert all(cell.text for row in summary.table.rows for cell in row)
    assert summary.row_charts or summary.line_charts
    assert "nan" not in json.dumps([summary.title, summary.explanation, summary.table.note])
    assert dict(demo_result.facts)["Trainings"] == str(len(demo_result.trainings))


def test_the_same_demo_gives_the_same_scores(demo_result: DemoResult) -> None:
    again = run_demo(demo_result.name, TOYS[demo_result.name], jobs=1, progress=lambda _: None)
    for one, two in zip(demo_result.trainings, again.trainings, strict=True):
        assert [point.score for point in one.result.history] == pytest.approx(
            [point.score for point in two.result.history], nan_ok=True
        )
        assert one.result.gradient_profile == two.result.gradient_profile


def test_a_score_in_the_table_is_the_mean_over_the_seeds(demo_result: DemoResult) -> None:
    """The means are computed again from the trainings."""
    by_label: dict[str, list[float]] = {}
    for training in demo_result.trainings:
        if training.result.score is not None:
            by_label.setdefault(training.label, []).append(training.result.score)
    means = {round(sum(scores) / len(scores), 9) for scores in by_label.values()}
    table_values = {round(cell.value, 9) for row in demo_result.summary.table.rows for cell in row if cell.value is not None}
    assert means <= table_values


def test_the_document_is_valid_json_and_has_every_training(demo_result: DemoResult) -> None:
    document = json.loads(json.dumps(demo_json.build_document(demo_result), allow_nan=False))
    assert (document["schema"], document["demo"], document["standing"]) == (1, demo_result.name, demo_result.outcome.value)
    assert len(document["trainings"]) == len(demo_result.trainings)
    assert len(document["rows"]) == len(demo_result.summary.table.rows)
    assert document["command"] == f"unvanish demo {demo_result.name}"


def test_the_page_has_every_chart_and_training_and_loads_nothing(demo_result: DemoResult) -> None:
    page = demo_page.render_page(demo_result)
    assert page == demo_page.render_page(demo_result)
    without_plotly = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)=\"?http", without_plotly)
    for picture in (*demo_result.summary.row_charts, *demo_result.summary.line_charts):
        assert f'id="{picture.name}-plot"' in without_plotly
    assert without_plotly.count("<tr>") >= len(demo_result.trainings) + len(demo_result.summary.table.rows)
    assert demo_result.command in without_plotly


@pytest.mark.parametrize("name", TOYS)
def test_a_summary_without_results_shows_no_numbers(name: str) -> None:
    summary = TOYS[name].summarise({})
    assert not summary.claim_holds
    assert not re.search(r"\d %", summary.title + summary.explanation)
    numbers = [cell.value for row in summary.table.rows for cell in row[2:] if cell.value is not None]
    assert numbers == []


@pytest.mark.parametrize("ending", [TrainingEnding.DIVERGED, TrainingEnding.FAILED, TrainingEnding.STOPPED])
@pytest.mark.parametrize("name", TOYS)
def test_trainings_that_did_not_finish_are_marked_in_the_table(name: str, ending: TrainingEnding) -> None:
    demo = TOYS[name]
    error = "Trouble" if ending is TrainingEnding.FAILED else ""
    results = {training: TrainingResult(ending, 10, error=error) for training in demo.trainings()}
    summary = demo.summarise(results)
    assert not summary.claim_holds
    word = {TrainingEnding.DIVERGED: "NaN", TrainingEnding.FAILED: "error", TrainingEnding.STOPPED: "cut short"}[ending]
    assert any(cell.text.startswith(word) for row in summary.table.rows for cell in row)


def test_the_digits_are_always_split_the_same_way_and_have_mean_square_one() -> None:
    one, two = load_digits_split(), load_digits_split()
    assert (len(one.labels), len(one.test_labels)) == (1437, 360)
    assert torch.equal(one.test_images, two.test_images)
    assert float(one.images.square().mean()) == pytest.approx(1.0, abs=1e-3)


def test_the_weight_gradients_agree_with_an_ordinary_backward_pass() -> None:
    torch.manual_seed(0)
    network, data = build_plain_network(NETWORK_KINDS["tanh"], layers=5, width=16, inputs=64), load_digits_split()
    log10_norms = measure_weight_gradients(network, data.images[:32], data.labels[:32])
    nn.functional.cross_entropy(network(data.images[:32]), data.labels[:32]).backward()
    naive = [math.log10(float(layer.weight.grad.norm())) for layer in network if isinstance(layer, nn.Linear)]  # type: ignore[union-attr]
    assert log10_norms == pytest.approx(naive, abs=1e-4)
    assert gradient_loss_measure(log10_norms)[0][1] == pytest.approx(naive[0] - naive[-1], abs=1e-4)
    assert build_gradient_profile("x", log10_norms).log10_gradients[-1] == 0.0


def test_a_profile_of_ten_thousand_layers_is_thinned_and_keeps_its_ends() -> None:
    profile = build_gradient_profile("x", [float(i) for i in range(10_000)])
    assert len(profile.positions) == 400
    assert (profile.positions[0], profile.positions[-1]) == (1.0, 10_000.0)
    assert (profile.log10_gradients[0], profile.log10_gradients[-1]) == (-9_999.0, 0.0)


def test_the_adding_problem_marks_two_numbers_and_its_target_is_their_sum() -> None:
    x, y = draw_sequences(200, 11, torch.Generator().manual_seed(3))
    assert x.shape == (200, 11, 2)
    assert torch.equal(x[:, :, 1].sum(1), torch.full((200,), 2.0))
    assert torch.equal(x[:, :5, 1].sum(1), torch.ones(200))
    sums = [sum(float(n) for n, m in row if m == 1) for row in x]
    assert y.tolist() == pytest.approx(sums, abs=1e-6)
    assert float(draw_test_sequences(50)[1].var()) == pytest.approx(TARGET_VARIANCE, rel=0.1)
