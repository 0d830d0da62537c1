"""A race on the page: the table, the patch, the front, the curves."""

from __future__ import annotations

import html
import math
import re
from dataclasses import replace

import pytest
from example_races import HALVED, TRIALS, make_complete_verdict, make_trial
from example_runs import make_run

from unvanish.record.finding import Finding, Severity
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import EQUAL_TIME_RATIO, Cost, Outcome, RaceResult
from unvanish.record.run import Run
from unvanish.report.figures.gallery import build_gallery
from unvanish.report.figures.picture import Picture
from unvanish.report.figures.race.loss_curves import build_loss_curves_picture
from unvanish.report.figures.race.pareto import build_pareto_picture
from unvanish.report.page import run_page
from unvanish.report.views import pareto_front
from unvanish.report.views.pareto_front import CONTROL_NAME
from unvanish.report.views.race_page_table import build_page_table
from unvanish.report.views.verdict_card import build_verdict_card
from unvanish.report.wording import numbers


def make_race_run(race: RaceResult = HALVED) -> Run:
    return replace(make_run(depth=4), race=race)


def build_pareto(race: RaceResult) -> Picture:
    picture = build_pareto_picture(make_race_run(race))
    assert picture is not None
    return picture


def build_curves(race: RaceResult) -> Picture:
    picture = build_loss_curves_picture(make_race_run(race))
    assert picture is not None
    return picture


@pytest.fixture(scope="module")
def text() -> str:
    """The race's part of the page, as text with its marks."""
    whole_page = run_page.render_page(make_race_run(), [])
    return whole_page[whole_page.index("were raced against") : whole_page.index("The facts of this run")]


def test_the_table_has_a_row_for_each_candidate_and_the_control(text: str) -> None:
    body = text[text.index("<tbody>") : text.index("</tbody>")]
    rows = [" ".join(html.unescape(re.sub("<[^>]*>", " ", row)).split()) for row in body.split("<tr")[1:]]
    assert len(rows) == 8
    assert "relu + he-init * winner 3/3" in rows[1]
    assert "● cured +0.86 [+0.85, +0.88] ×0.97 0 % ×1.00 ×1.00 3" in rows[1]
    assert "1.20 0.510 +0.41 one seed" in rows[2]
    assert "2/3 0.410 stopped at rung 2" in rows[3]
    assert "✕ failed: out of memory" in rows[6]
    assert rows[7].split(">")[-1].strip().startswith("as it is (control)")


@pytest.mark.parametrize(
    ("race", "command"),
    [
        (replace(HALVED, patch="--- a/x"), "git apply unvanish.patch"),
        (replace(HALVED, patch=None, line='unvanish.apply(net, "relu")'), 'unvanish.apply(net, "relu")'),
        (replace(HALVED, patch=None, line=None), 'unvanish.apply(model, "relu", "he-init")'),
    ],
)
def test_the_verdict_says_how_to_take_over_the_winner(race: RaceResult, command: str) -> None:
    sick = Finding("vanishing-gradient", Severity.CRITICAL, 0.9, "summary", "why", advice="advice", sites=())
    assert build_verdict_card(make_race_run(race), [sick]).command == command


def test_what_is_not_finite_is_nowhere_printed(text: str) -> None:
    words = re.sub("<[^>]*>", " ", re.sub("<script.*?</script>", "", text, flags=re.DOTALL)).lower()
    assert not re.search(r"\binf\b|\bnan\b|infinite", words)


def test_the_patch_is_shown_line_by_line_and_cannot_break_the_page(text: str) -> None:
    assert '<span class="added">+        layers += [nn.Linear(width, width), nn.ReLU()]</span>' in text
    assert '<span class="removed">--- x &amp; &lt;y&gt;</span>' in text
    assert "The patch" not in run_page.render_page(make_race_run(replace(HALVED, patch=None)), [])


def test_the_front_has_the_candidates_that_no_other_dominates() -> None:
    costs = {
        "a": (0.9, 1.0, 1.0),
        "b": (0.9, 1.04, 1.0),
        "c": (0.8, 0.9, 1.0),
        "d": (0.95, 2.0, 1.0),
        "e": (0.9, 1.0, 2.0),
        "f": (0.9, 1.0, 1.1),
    }
    table = [
        make_complete_verdict(name, Outcome.CURED, gain, 1.0, cost=Cost(time, size, 1.0))
        for name, (gain, time, size) in costs.items()
    ]
    # A machine cannot tell the times of a and b apart; c is faster; d scores more; e and f are larger; the control is slower.
    assert pareto_front.find_front(replace(HALVED, verdicts=tuple(table))) == {"a", "b", "c", "d"}


def test_times_within_the_equal_time_ratio_are_equal_in_words_and_on_the_front() -> None:
    assert numbers.describe_speed(EQUAL_TIME_RATIO) == "at the same speed"
    assert numbers.describe_speed(EQUAL_TIME_RATIO + 0.01) == "each step taking 6 % longer"
    times = {"equal": EQUAL_TIME_RATIO, "slower": EQUAL_TIME_RATIO + 0.01, "own": 1.0}
    verdicts = tuple(
        make_complete_verdict(name, Outcome.CURED, 0.9, 1.0, cost=Cost(time, 1.0, 1.0)) for name, time in times.items()
    )
    assert pareto_front.find_front(replace(HALVED, verdicts=verdicts)) == {"equal", "own"}


def test_what_was_stopped_or_failed_or_not_measured_is_not_on_the_front() -> None:
    assert pareto_front.find_front(HALVED) == {"batchnorm", "relu + he-init"}
    unknown = make_complete_verdict("best", Outcome.CURED, 1.0, 0.0, cost=Cost(math.nan, 1.0, 1.0))
    assert pareto_front.find_front(replace(HALVED, verdicts=(unknown,))) == frozenset()


def test_the_front_is_drawn_with_the_control_and_size_as_area() -> None:
    double = replace(HALVED.verdicts[0], cost=Cost(1.18, 4.0, 1.0))
    picture = build_pareto(replace(HALVED, verdicts=(double, *HALVED.verdicts[1:])))
    marks = [trace for trace in picture.figure.data if trace.mode == "markers"]
    assert [(mark.x[0], mark.y[0]) for mark in marks] == [(0.97, 0.964), (1.0, 0.101), (1.18, 0.972), (1.31, 0.51)]
    assert marks[2].marker.size == 2 * marks[0].marker.size
    (stairs,) = [trace for trace in picture.figure.data if trace.mode == "lines"]
    assert list(stairs.x) == [0.97, 1.18]
    rings = {trace.text[0]: trace.marker.opacity for trace in picture.figure.data if trace.mode == "markers+text"}
    assert rings == {"relu + he-init": 1.0, CONTROL_NAME: 0.0, "batchnorm": 1.0, "tailored-activation": 0.0}
    assert picture.title == "batchnorm comes out best in val_accuracy; relu + he-init takes ×0.82 its time per step"
    assert (
        "relu + he-init: val_accuracy 0.964 ± 0.004, time per step ×0.97, parameters 0 %, on the front" in picture.text_alternative
    )
    assert "4 candidates not run to the end" in picture.table.note


def test_where_nothing_helps_the_title_of_the_front_says_so() -> None:
    worse = make_complete_verdict("elu", Outcome.SAME, 0.09, 2.4, cost=Cost(1.0, 1.0, 1.0))
    assert build_pareto(replace(HALVED, verdicts=(worse,), winner=None)).title == (
        "Nothing that ran to its end exceeds the script as it is in val_accuracy"
    )


def test_each_trial_has_a_curve_over_its_own_steps_and_the_control_is_grey() -> None:
    picture = build_curves(HALVED)
    assert len(picture.figure.data) == len(TRIALS)
    assert [trace.name for trace in picture.figure.data if trace.showlegend] == [
        CONTROL_NAME, "batchnorm", "relu + he-init", "tailored-activation", "elu", "learning-rate x10",
    ]  # fmt: skip
    assert {trace.line.color for trace in picture.figure.data if trace.name == CONTROL_NAME} == {"#5c6670"}
    (elu,) = [trace for trace in picture.figure.data if trace.name == "elu"]
    assert list(elu.x) == [20.5, 60.5]
    assert picture.title == "The loss ends at 0.102 with relu + he-init, and at 2.30 as it is"


def test_a_loss_of_another_meaning_is_left_out_of_the_curves_and_named() -> None:
    logits = replace(HALVED.verdicts[0], candidate=Candidate(("logits",)), effects=HALVED.verdicts[0].effects[:1])
    picture = build_curves(
        replace(HALVED, verdicts=(logits, *HALVED.verdicts), trials=(*TRIALS, make_trial("logits", 0, 360, (9.0, 8.0))))
    )
    assert "Left out, since their loss means something else: logits." in picture.caption
    assert "logits" not in {trace.name for trace in picture.figure.data}


def test_a_curve_that_diverged_has_a_gap_and_its_words() -> None:
    broken = replace(HALVED, trials=(make_trial("", 0, 30, (2.0, 3.0, math.inf)), *TRIALS[3:]))
    picture = build_curves(broken)
    assert picture.figure.data[0].y[2] is None
    assert picture.title == "The loss diverges as it is; with relu + he-init it ends at 0.102"
    assert picture.table.rows[-1] == (CONTROL_NAME, "0", "30", "2.000", "not a number")


def test_a_race_by_one_metric_alone_has_no_second_loss_column() -> None:
    alone = tuple(replace(verdict, effects=verdict.effects[1:]) for verdict in HALVED.verdicts[:2])
    table = build_page_table(replace(HALVED, verdicts=alone, control=HALVED.control[1:]))
    assert (table.metric, table.has_loss) == ("loss", False)


def test_every_table_row_of_a_race_is_as_long_as_its_header() -> None:
    pictures = build_gallery(make_race_run()).race
    assert [picture.name for picture in pictures] == ["race", "pareto", "curves"]
    for picture in pictures:
        assert {len(row) for row in picture.table.rows} == {len(picture.table.header)}


def test_a_race_that_tried_nothing_has_no_pictures() -> None:
    assert build_gallery(make_race_run(RaceResult("a.py", (), None, (), (), "Nothing."))).race == ()
