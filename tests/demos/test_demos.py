"""Every demo, at toy size: it runs to its end, tells only what it measured, and can be shown in every form."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch
from demo_sizes import TOYS
from torch import nn

from unvanish.demos.activations import KINDS, plain
from unvanish.demos.adding_problem import VARIANCE, held_out, sequences
from unvanish.demos.digits import digits
from unvanish.demos.run_demo import run_demo
from unvanish.demos.weight_gradients import first_over_last, profile, weight_gradients
from unvanish.record.demo_result import Course, Demonstration, Ending, Standing
from unvanish.report import demo_json
from unvanish.report.page import demo_page


@pytest.fixture(scope="module", params=list(TOYS))
def shown(request: pytest.FixtureRequest) -> Demonstration:
    return run_demo(request.param, TOYS[request.param], jobs=1, progress=lambda _: None)


def test_a_demo_runs_every_training_and_says_what_came_of_it(shown: Demonstration) -> None:
    demo = TOYS[shown.name]
    assert len(shown.trainings) == len(demo.trainings())
    assert shown.standing in (Standing.SHOWN, Standing.NOT_SHOWN)
    story = shown.story
    assert story.title[0].isupper() or story.title[0].isdigit()
    assert story.title.endswith(".")
    assert story.call.startswith("unvanish.apply(model, ")
    assert all(len(row) == len(story.sheet.columns) for row in story.sheet.rows)
    assert all(cell.text for row in story.sheet.rows for cell in row)
    assert story.boards or story.charts
    assert "nan" not in json.dumps([story.title, story.plain, story.sheet.note])
    assert dict(shown.facts)["Trainings"] == str(len(shown.trainings))


def test_the_same_demo_gives_the_same_figures(shown: Demonstration) -> None:
    again = run_demo(shown.name, TOYS[shown.name], jobs=1, progress=lambda _: None)
    for one, two in zip(shown.trainings, again.trainings, strict=True):
        assert [point.score for point in one.course.points] == pytest.approx(
            [point.score for point in two.course.points], nan_ok=True
        )
        assert one.course.profile == two.course.profile


def test_a_score_on_the_sheet_is_the_mean_over_the_seeds(shown: Demonstration) -> None:
    """A second way: from the trainings of the document, grouped anew."""
    by_label: dict[str, list[float]] = {}
    for trained in shown.trainings:
        if trained.course.score is not None:
            by_label.setdefault(trained.label, []).append(trained.course.score)
    means = {round(sum(scores) / len(scores), 9) for scores in by_label.values()}
    told = {round(cell.value, 9) for row in shown.story.sheet.rows for cell in row if cell.value is not None}
    assert means <= told


def test_the_document_is_valid_json_and_holds_every_training(shown: Demonstration) -> None:
    document = json.loads(json.dumps(demo_json.document(shown), allow_nan=False))
    assert (document["schema"], document["demo"], document["standing"]) == (1, shown.name, shown.standing.value)
    assert len(document["trainings"]) == len(shown.trainings)
    assert len(document["rows"]) == len(shown.story.sheet.rows)
    assert document["command"] == f"unvanish demo {shown.name}"


def test_the_page_is_whole_and_opens_offline(shown: Demonstration) -> None:
    page = demo_page.html(shown)
    assert page == demo_page.html(shown)
    without_plotly = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)=\"?http", without_plotly)
    for picture in (*shown.story.boards, *shown.story.charts):
        assert f'id="{picture.name}-plot"' in without_plotly
    assert without_plotly.count("<tr>") >= len(shown.trainings) + len(shown.story.sheet.rows)
    assert shown.command in without_plotly


@pytest.mark.parametrize("name", TOYS)
def test_a_demo_of_which_nothing_was_run_invents_nothing(name: str) -> None:
    story = TOYS[name].tell({})
    assert not story.borne_out
    assert not re.search(r"\d %", story.title + story.plain)
    numbers = [cell.value for row in story.sheet.rows for cell in row[2:] if cell.value is not None]
    assert numbers == []


@pytest.mark.parametrize("ending", [Ending.DIVERGED, Ending.FAILED, Ending.STOPPED])
@pytest.mark.parametrize("name", TOYS)
def test_trainings_that_went_wrong_are_shown_as_such(name: str, ending: Ending) -> None:
    demo = TOYS[name]
    courses = {training: Course(ending, 10, said="Trouble" if ending is Ending.FAILED else "") for training in demo.trainings()}
    story = demo.tell(courses)
    assert not story.borne_out
    word = {Ending.DIVERGED: "NaN", Ending.FAILED: "error", Ending.STOPPED: "cut short"}[ending]
    assert any(cell.text.startswith(word) for row in story.sheet.rows for cell in row)


def test_the_digits_are_split_alike_every_time_and_have_mean_square_one() -> None:
    one, two = digits(), digits()
    assert (len(one.labels), len(one.test_labels)) == (1437, 360)
    assert torch.equal(one.test_images, two.test_images)
    assert float(one.images.square().mean()) == pytest.approx(1.0, abs=1e-3)


def test_the_weight_gradients_agree_with_an_ordinary_backward_pass() -> None:
    torch.manual_seed(0)
    network, data = plain(KINDS["tanh"], layers=5, width=16, inputs=64), digits()
    lengths = weight_gradients(network, data.images[:32], data.labels[:32])
    nn.functional.cross_entropy(network(data.images[:32]), data.labels[:32]).backward()
    naive = [math.log10(float(layer.weight.grad.norm())) for layer in network if isinstance(layer, nn.Linear)]  # type: ignore[union-attr]
    assert lengths == pytest.approx(naive, abs=1e-4)
    assert first_over_last(lengths)[0][1] == pytest.approx(naive[0] - naive[-1], abs=1e-4)
    assert profile("x", lengths).log10[-1] == 0.0


def test_a_profile_of_ten_thousand_layers_is_thinned_and_keeps_its_ends() -> None:
    thinned = profile("x", [float(i) for i in range(10_000)])
    assert len(thinned.at) == 400
    assert (thinned.at[0], thinned.at[-1], thinned.log10[0], thinned.log10[-1]) == (1.0, 10_000.0, -9_999.0, 0.0)


def test_the_adding_problem_marks_two_numbers_and_asks_for_their_sum() -> None:
    x, y = sequences(200, 11, torch.Generator().manual_seed(3))
    assert x.shape == (200, 11, 2)
    assert torch.equal(x[:, :, 1].sum(1), torch.full((200,), 2.0))
    assert torch.equal(x[:, :5, 1].sum(1), torch.ones(200))
    brute = [sum(float(n) for n, m in row if m == 1) for row in x]
    assert y.tolist() == pytest.approx(brute, abs=1e-6)
    assert float(held_out(50)[1].var()) == pytest.approx(VARIANCE, rel=0.1)
