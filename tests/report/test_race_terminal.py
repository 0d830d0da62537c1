"""A race in the terminal: what each line says, what fits, and that nothing is printed that was not measured."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from example_races import HALVED, SHAPES, make_complete_verdict, make_effect
from rich.cells import cell_len
from rich.console import Console

from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import Cost, Effect, LinePlace, Outcome, RaceResult
from unvanish.report.terminal.race import render_race
from unvanish.report.views import diff_lines, race_table
from unvanish.report.views.race_table import LEGEND
from unvanish.report.wording import numbers


def print_lines(race: RaceResult, width: int = 80, *, patch_path: str | None = None) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(render_race(race, patch_path))
    return file.getvalue().splitlines()


def find_row(lines: list[str], name: str) -> str:
    return next(line for line in lines if line.strip().startswith(name))


def make_race(effect: Effect, *, seeds: int = 3) -> RaceResult:
    """A race of one candidate with that effect on the loss, the only metric."""
    one = replace(HALVED.verdicts[0], effects=(effect,), seeds=seeds)
    return replace(HALVED, verdicts=(one,), control=(replace(effect, treated=effect.control),), winner=None, trials=())


@pytest.mark.parametrize("width", [60, 80, 110, 120, 160])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut_off_the_numbers(width: int) -> None:
    lines = print_lines(HALVED, width)
    assert max(map(cell_len, lines)) <= width
    assert "+0.87 [+0.86, +0.88]" in find_row(lines, "batchnorm")
    assert "…" not in "".join(line for line in lines if "✕" not in line)


def test_80_columns_show_rung_metric_comparison_and_time() -> None:
    lines = print_lines(HALVED)
    assert lines[0].split() == ["remedy", "rung", "val_accuracy", "against", "as", "it", "is", "step"]
    expected = " ".join(find_row(lines, "batchnorm").split())
    assert expected == "batchnorm * 3/3 0.972 ± 0.004 ● cured +0.87 [+0.86, +0.88] ×1.18"


def test_wider_terminals_show_loss_size_operations_memory_and_bars() -> None:
    assert print_lines(HALVED, 120)[0].split()[-4:] == ["step", "params", "FLOPs", "memory"]
    wide = print_lines(HALVED, 160)
    effect = find_row(wide, "batchnorm")
    for part in ("██████ 3/3", "0.081 ± 0.004", "×1.18", "+1 %", "×1.02", "×1.03"):
        assert part in effect
    assert "████   2/3" in find_row(wide, "elu")
    assert "seeds" in wide[0]


def test_the_control_is_the_last_row() -> None:
    lines = print_lines(replace(HALVED, verdicts=HALVED.verdicts[:3]))
    assert lines[lines.index(next(line for line in lines if LEGEND in line)) - 1].split()[:4] == ["as", "it", "is", "(control)"]
    assert "0.10 ± 0.01" in find_row(lines, "as it is (control)")


def test_a_stopped_candidate_shows_its_rung_and_no_comparison() -> None:
    lines = print_lines(HALVED, 160)
    assert "stopped at rung 2" in find_row(lines, "elu")
    assert "0.410" in find_row(lines, "elu")
    assert "stopped at rung 1" in find_row(lines, "learning-rate x10")
    assert not {"○", "one seed", "×1.00"} & set(find_row(lines, "elu").split())


def test_the_reason_of_a_failure_is_in_the_table_and_in_full_below_it() -> None:
    lines = print_lines(HALVED)
    assert "✕ out of memory" in find_row(lines, "muon")
    assert "✕ crashed: RuntimeError" in find_row(lines, "lsuv-init ")
    assert f"lsuv-init: {SHAPES}" in " ".join(" ".join(lines).split())
    assert "muon: out of memory" not in "".join(lines)


def test_a_single_seed_is_named_and_its_interval_is_not_printed() -> None:
    effect = find_row(print_lines(HALVED), "tailored-activation")
    assert "○ one seed +0.41" in effect
    assert "±" not in effect
    assert "same" not in effect
    assert "inf" not in "".join(print_lines(HALVED, 160))


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        (Effect("loss", False, math.inf, 0.3, math.inf, (math.inf, math.inf), math.nan, 0.1), "no longer diverges"),
        (Effect("loss", False, 0.3, math.inf, -math.inf, (-math.inf, -math.inf), 0.1, math.nan), "diverges"),
        (Effect("loss", False, math.inf, 0.3, math.inf, (11.6, math.inf), math.nan, 0.1), "no longer diverges"),
        (Effect("loss", False, 0.3, math.inf, -math.inf, (-math.inf, math.inf), 0.1, math.nan), "some seeds diverge"),
    ],
)
def test_a_comparison_with_a_divergence_is_worded(effect: Effect, expected: str) -> None:
    text = "\n".join(print_lines(make_race(effect)))
    assert expected in text
    assert "diverged" in text
    assert "inf" not in text
    assert "nan" not in text


def test_the_mark_of_the_front_is_explained_and_missing_where_nothing_was_measured() -> None:
    lines = print_lines(HALVED)
    assert [line.split("*")[0].strip() for line in lines if "* " in line][:2] == ["batchnorm", "relu + he-init"]
    assert any(LEGEND in line for line in lines)
    none = replace(HALVED, verdicts=HALVED.verdicts[3:], winner=None)
    assert "*" not in "".join(print_lines(none))


def test_sentence_patch_and_notes_are_below_the_table() -> None:
    text = " ".join(" ".join(print_lines(HALVED, patch_path="runs/unvanish.patch")).split())
    assert f"{HALVED.sentence} Patch: runs/unvanish.patch (3 lines). {HALVED.notes[0]}" in text
    assert "Patch" not in "".join(print_lines(replace(HALVED, patch=None)))


def test_of_two_rates_the_one_that_won_is_the_winner() -> None:
    whole_run = make_complete_verdict("learning-rate", Outcome.BETTER, 0.5, 1.0, cost=Cost(1.0, 1.0, 1.0))
    both = tuple(replace(whole_run, candidate=Candidate(("learning-rate",), factor)) for factor in (3.0, 10.0))
    file = io.StringIO()
    race = replace(HALVED, verdicts=both, winner=Candidate(("learning-rate",), 10.0))
    Console(file=file, width=80, force_terminal=True, color_system="standard").print(render_race(race))
    bold = [line for line in file.getvalue().splitlines() if "\x1b[1mlearning-rate" in line]
    assert len(bold) == 1
    assert "x10" in bold[0]


def test_the_deciding_metric_is_that_of_the_candidates_that_ran_to_their_end() -> None:
    shuffled = replace(HALVED, verdicts=(HALVED.verdicts[3], *HALVED.verdicts[:3]))
    assert "val_accuracy" in print_lines(shuffled)[0]


@pytest.mark.parametrize(
    ("mean", "deviation", "expected"),
    [
        (0.0812, 0.0041, "0.081 ± 0.004"),
        (2.3026, 0.0009, "2.3026 ± 0.0009"),
        (0.5, 2.0, "0.50 ± 2"),
        (23.1, 4.2, "23 ± 4"),
        (0.000487, 3.3e-5, "0.000487 ± 3e-5"),
        (0.104, 0.01, "0.10 ± 0.01"),
        (0.101, 0.0, "0.101 ± 0"),
        (1.2e-7, 3e-8, "1.2e-7 ± 3e-8"),
    ],
)
def test_a_mean_has_as_many_decimals_as_its_deviation(mean: float, deviation: float, expected: str) -> None:
    assert numbers.format_mean_and_deviation(mean, deviation) == expected


def test_lines_that_look_like_diff_headers_are_told_apart_from_headers() -> None:
    kinds = [line.kind for line in diff_lines.parse_diff(HALVED.patch or "")]
    assert kinds[:3] == ["head", "head", "place"]
    assert kinds[9:] == ["head", "head", "place", "removed", "added"]
    assert diff_lines.count_written_lines(HALVED.patch or "") == 3


def test_a_race_that_compared_nothing_is_its_sentence() -> None:
    nothing = RaceResult("a.py", (), None, (), (), "No remedy could be tried.")
    assert [line.strip() for line in print_lines(nothing)] == ["No remedy could be tried."]


def test_an_effect_of_the_loss_is_an_improvement_where_it_falls() -> None:
    assert "+2.22 [+2.21, +2.23]" in "".join(print_lines(make_race(make_effect("loss", 2.303, 0.081, 0.012))))


@pytest.mark.parametrize("place", list(LinePlace))
def test_the_place_of_the_line_is_that_of_the_record_whatever_the_line_says(place: LinePlace) -> None:
    race = replace(HALVED, patch=None, line='unvanish.apply(optimizer_free_net, "relu")', line_place=place)
    assert f"  Put this {place} the line that builds the optimizer:" in [line.rstrip() for line in print_lines(race)]


def test_why_a_candidate_failed_is_shown_word_for_word() -> None:
    failure = "A trial failed: so it prints."
    verdict = replace(HALVED.verdicts[-1], reason=f"A trial failed: {failure}.", failure=failure)
    (row, _) = race_table.build_rows(replace(HALVED, verdicts=(verdict,), winner=None))
    assert row.ending == failure
