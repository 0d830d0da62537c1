"""A race in the terminal: what each line says, what fits, and that nothing is printed that was not measured."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from races import HALVED, SHAPES, effect, whole
from rich.cells import cell_len
from rich.console import Console

from unvanish.record.verdict import Cost, Effect, Outcome, RaceResult
from unvanish.report.terminal.race import render_race
from unvanish.report.views import diff_lines
from unvanish.report.views.race_table import LEGEND
from unvanish.report.wording import numbers


def printed(race: RaceResult, width: int = 80, *, patch_path: str | None = None) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(render_race(race, patch_path))
    return file.getvalue().splitlines()


def row(lines: list[str], name: str) -> str:
    return next(line for line in lines if line.strip().startswith(name))


def with_effect(found: Effect, *, seeds: int = 3) -> RaceResult:
    """A race of one candidate with that effect on the loss, the only metric."""
    one = replace(HALVED.verdicts[0], effects=(found,), seeds=seeds)
    return replace(HALVED, verdicts=(one,), control=(replace(found, treated=found.control),), winner=None, trials=())


@pytest.mark.parametrize("width", [60, 80, 110, 120, 160])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut_off_the_numbers(width: int) -> None:
    lines = printed(HALVED, width)
    assert max(map(cell_len, lines)) <= width
    assert "+0.87 [+0.86, +0.88]" in row(lines, "batchnorm")
    assert "…" not in "".join(line for line in lines if "✕" not in line)


def test_at_80_columns_stand_rung_metric_comparison_and_time() -> None:
    lines = printed(HALVED)
    assert lines[0].split() == ["remedy", "rung", "val_accuracy", "against", "as", "it", "is", "step"]
    said = " ".join(row(lines, "batchnorm").split())
    assert said == "batchnorm * 3/3 0.972 ± 0.004 ● cured +0.87 [+0.86, +0.88] ×1.18"


def test_wider_terminals_show_loss_size_operations_memory_and_bars() -> None:
    assert printed(HALVED, 120)[0].split()[-4:] == ["step", "params", "FLOPs", "memory"]
    wide = printed(HALVED, 160)
    found = row(wide, "batchnorm")
    for part in ("██████ 3/3", "0.081 ± 0.004", "×1.18", "+1 %", "×1.02", "×1.03"):
        assert part in found
    assert "████   2/3" in row(wide, "elu")
    assert "seeds" in wide[0]


def test_the_control_is_the_last_row() -> None:
    lines = printed(replace(HALVED, verdicts=HALVED.verdicts[:3]))
    assert lines[lines.index(next(line for line in lines if LEGEND in line)) - 1].split()[:4] == ["as", "it", "is", "(control)"]
    assert "0.10 ± 0.01" in row(lines, "as it is (control)")


def test_a_candidate_that_was_stopped_says_where_and_claims_nothing() -> None:
    lines = printed(HALVED, 160)
    assert "stopped at rung 2" in row(lines, "elu")
    assert "0.410" in row(lines, "elu")
    assert "stopped at rung 1" in row(lines, "learning-rate x10")
    assert not {"○", "one seed", "×1.00"} & set(row(lines, "elu").split())


def test_a_failure_says_why_in_the_table_and_in_full_below_it() -> None:
    lines = printed(HALVED)
    assert "✕ out of memory" in row(lines, "muon")
    assert "✕ crashed: RuntimeError" in row(lines, "lsuv-init ")
    assert f"lsuv-init: {SHAPES}" in " ".join(" ".join(lines).split())
    assert "muon: out of memory" not in "".join(lines)


def test_one_seed_is_said_and_its_interval_is_not_printed() -> None:
    found = row(printed(HALVED), "tailored-activation")
    assert "○ one seed +0.41" in found
    assert "±" not in found
    assert "same" not in found
    assert "inf" not in "".join(printed(HALVED, 160))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Effect("loss", False, math.inf, 0.3, math.inf, (math.inf, math.inf), math.nan, 0.1), "no longer diverges"),
        (Effect("loss", False, 0.3, math.inf, -math.inf, (-math.inf, -math.inf), 0.1, math.nan), "diverges"),
        (Effect("loss", False, math.inf, 0.3, math.inf, (11.6, math.inf), math.nan, 0.1), "no longer diverges"),
        (Effect("loss", False, 0.3, math.inf, -math.inf, (-math.inf, math.inf), 0.1, math.nan), "some seeds diverge"),
    ],
)
def test_a_comparison_with_a_divergence_is_worded(found: Effect, said: str) -> None:
    text = "\n".join(printed(with_effect(found)))
    assert said in text
    assert "diverged" in text
    assert "inf" not in text
    assert "nan" not in text


def test_the_mark_of_the_front_is_explained_and_missing_where_nothing_was_measured() -> None:
    lines = printed(HALVED)
    assert [line.split("*")[0].strip() for line in lines if "* " in line][:2] == ["batchnorm", "relu + he-init"]
    assert any(LEGEND in line for line in lines)
    none = replace(HALVED, verdicts=HALVED.verdicts[3:], winner=None)
    assert "*" not in "".join(printed(none))


def test_sentence_patch_and_notes_stand_below() -> None:
    text = " ".join(" ".join(printed(HALVED, patch_path="runs/unvanish.patch")).split())
    assert f"{HALVED.sentence} Patch: runs/unvanish.patch (3 lines). {HALVED.notes[0]}" in text
    assert "Patch" not in "".join(printed(replace(HALVED, patch=None)))


def test_of_two_variants_the_one_that_won_is_the_winner() -> None:
    both = tuple(
        replace(whole("learning-rate", Outcome.BETTER, 0.5, 1.0, cost=Cost(1.0, 1.0, 1.0)), variant=each) for each in ("x3", "x10")
    )
    file = io.StringIO()
    won = replace(HALVED, verdicts=both, winner=("learning-rate",), winner_variant="x10")
    Console(file=file, width=80, force_terminal=True, color_system="standard").print(render_race(won))
    bold = [line for line in file.getvalue().splitlines() if "\x1b[1mlearning-rate" in line]
    assert len(bold) == 1
    assert "x10" in bold[0]


def test_the_deciding_metric_is_that_of_the_candidates_that_ran_to_their_end() -> None:
    shuffled = replace(HALVED, verdicts=(HALVED.verdicts[3], *HALVED.verdicts[:3]))
    assert "val_accuracy" in printed(shuffled)[0]


@pytest.mark.parametrize(
    ("mean", "deviation", "said"),
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
def test_a_mean_is_as_exact_as_its_seeds_agree(mean: float, deviation: float, said: str) -> None:
    assert numbers.measured(mean, deviation) == said


def test_a_difference_knows_its_heads_from_lines_that_look_like_them() -> None:
    kinds = [line.kind for line in diff_lines.lines(HALVED.patch or "")]
    assert kinds[:3] == ["head", "head", "place"]
    assert kinds[9:] == ["head", "head", "place", "removed", "added"]
    assert diff_lines.written(HALVED.patch or "") == 3


def test_a_race_that_compared_nothing_is_its_sentence() -> None:
    nothing = RaceResult("a.py", (), None, (), (), "No remedy could be tried.")
    assert [line.strip() for line in printed(nothing)] == ["No remedy could be tried."]


def test_an_effect_of_the_loss_is_an_improvement_where_it_falls() -> None:
    assert "+2.22 [+2.21, +2.23]" in "".join(printed(with_effect(effect("loss", 2.303, 0.081, 0.012))))
