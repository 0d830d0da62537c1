"""The board of a race: rows, their order and states, the time left, that it fits; and the log where there is no terminal."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from unvanish.cli.race_board import NoDisplay, RaceBoard, RaceLog, race_display
from unvanish.cli.race_progress import RaceProgress
from unvanish.race import plan_parts
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.race_plan import CONTROL_ID, PLANNING_ID, SEEDS_ID, PlannedPart, RacePart, end_id, rung_id
from unvanish.record.races.verdict import TrialResult
from unvanish.report.terminal.live_race import LiveRace
from unvanish.trials import Script, Trial
from unvanish.trials.trial import TrialEvent, TrialState

SCRIPT = Script(Path("a.py"), ())
LONG = "tailored-activation + delta-orthogonal-init"


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def trial(name: str = "", seed: int = 0, *, first_step_function: str = "") -> Trial:
    return Trial(
        SCRIPT, Candidate(tuple(name.split(" + ")) if name else ()), seed, Path("unused"), first_step_function=first_step_function
    )


def running(of: Trial, step: int, goal: int | None = None, *, loss: float = 1.0) -> TrialEvent:
    return TrialEvent(of, TrialState.RUNNING, step, loss, goal)


def ended(of: Trial, step: int, loss: float, *, paused: bool = False, failure: str | None = None) -> TrialEvent:
    result = TrialResult(of.candidate, of.seed, step, loss, (), (), 100.0, 10, 10, (), failure, paused)
    return TrialEvent(of, TrialState.PAUSED if paused else TrialState.ENDED, step, loss, step if paused else None, result)


def stopped(of: Trial, step: int) -> TrialEvent:
    return TrialEvent(of, TrialState.STOPPED, step, 1.0, step)


def after_first_rung(clock: Clock) -> RaceProgress:
    """A race after its first rung: the control needed 2 s to start and 0.1 s a step."""
    progress = RaceProgress(clock)
    progress.on_part(RacePart(CONTROL_ID, "watching it as it is", 1))
    clock.now = 38.0
    progress.on_event(ended(trial(), 360, 2.3))
    progress.on_part(RacePart(rung_id(0, 1), "rung 1 of 3, to step 40", 4))
    for name, loss in (("elu", 1.9), (LONG, 0.7), ("batchnorm", 0.5)):
        progress.on_event(running(trial(name), 0, 40))
        progress.on_event(ended(trial(name), 40, loss, paused=True))
    progress.on_event(running(trial("lsuv-init"), 0, 40))
    progress.on_event(ended(trial("lsuv-init"), 3, 2.0, failure="crashed: RuntimeError: the shapes do not fit each other"))
    progress.on_event(stopped(trial("elu"), 40))
    return progress


def drawn(progress: RaceProgress, width: int = 80, height: int = 24) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, height=height)
    console.print(LiveRace(progress.part, progress.rows(), progress.summary()))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_the_board_fits_and_says_how_each_candidate_stands(width: int) -> None:
    lines = drawn(after_first_rung(Clock()), width)
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    assert lines[0].strip() == "rung 1 of 3, to step 40"
    row = next(line for line in lines if line.startswith("batchnorm"))
    assert row.split()[2:] == ["40/40", "0.500", "waiting", "at", "step", "40"]
    assert row.count("█") == round(40 / 360 * (8 if width == 80 else 16))
    assert "stopped" in next(line for line in lines if line.startswith("elu"))
    assert "failed: crash" in text
    assert next(line for line in lines if line.startswith("as it is")).split()[4:] == ["360/360", "2.30", "1", "ended"]


def test_the_best_stand_first_what_runs_no_more_behind_and_the_control_last() -> None:
    assert [row.name for row in after_first_rung(Clock()).rows()] == ["batchnorm", LONG, "elu", "lsuv-init", "as it is"]


def test_a_rehearsal_is_no_result_of_the_script_and_leaves_with_its_part() -> None:
    progress = after_first_rung(Clock())
    progress.on_part(RacePart(PLANNING_ID, "rehearsing 3 candidates", 1))
    rehearsal = trial(first_step_function="somewhere:plan")
    progress.on_event(ended(rehearsal, 10, 9.0))
    assert "rehearsal" in {row.name for row in progress.rows()}
    control = progress.rows()[-1]
    assert (control.step, control.training_steps) == (360, 360)
    progress.on_part(RacePart(rung_id(0, 1), "rung 1 of 1", 1))
    assert "rehearsal" not in {row.name for row in progress.rows()}


def test_seeds_that_were_run_to_their_end_are_counted_and_failed_ones_are_not() -> None:
    progress = after_first_rung(Clock())
    progress.on_part(RacePart(SEEDS_ID, "2 more seeds", 4))
    progress.on_event(ended(trial("batchnorm", 1), 360, 0.1))
    progress.on_event(ended(trial("batchnorm", 2), 9, math.inf, failure="out of memory"))
    row = next(row for row in progress.rows() if row.name == "batchnorm")
    assert (row.seeds, row.state, row.is_out) == (1, "failed: out of memory", True)


def test_the_time_left_counts_the_start_of_a_process_as_the_steps_of_that_time() -> None:
    clock = Clock()
    progress = after_first_rung(clock)
    progress.on_part(RacePart(SEEDS_ID, "the leaders with more seeds", 4))
    clock.now += 20.0
    # The control took 38 s for 360 steps of 0.1 s: a start is worth 20 steps, so each of four trials is 380 steps of work.
    progress.on_event(running(trial("batchnorm", 1), 0, 360))
    progress.on_event(running(trial("batchnorm", 1), 180, 360))
    progress.on_event(running(trial("", 1), 0, 360))
    progress.on_event(running(trial("", 1), 180, 360))
    # In the first rung 3 * (20 + 40) + 20 + 3 were done in no time; now 400 in 20 s.
    left = (4 * 380 - 400) / (203 + 400) * 20
    assert progress.summary() == f"0 of 4 trials of this part · 58 s so far · about {left:.0f} s left of it"


def test_the_parts_that_are_planned_are_counted_until_they_begin() -> None:
    clock = Clock()
    progress = after_first_rung(clock)
    parts = [
        PlannedPart(rung_id(0, 2), "rung 2", 2, 40, 120),
        PlannedPart(end_id(0), "to the end", 2, 120, 360),
        PlannedPart(rung_id(1, 1), "perhaps", 9, 0, 360, if_needed=True),
    ]
    progress.on_plan(parts)
    progress.on_part(RacePart(rung_id(0, 2), "rung 2", 2))
    clock.now += 10.0
    for name in ("batchnorm", LONG):
        progress.on_event(running(trial(name), 40, 120))
        progress.on_event(running(trial(name), 80, 120))
    left = (80 + 480) / (203 + 80) * 10
    assert progress.summary().endswith(f"about {left:.0f} s left")
    progress.on_part(RacePart(end_id(0), "to the end", 2))
    assert "left" not in progress.summary()


def test_the_proof_is_counted_once_whatever_it_is_called_when_it_begins() -> None:
    clock = Clock()
    progress = after_first_rung(clock)
    proof = next(part for part in plan_parts(6, steps=360, seeds=3) if part.id == SEEDS_ID)
    progress.on_plan([proof])
    progress.on_part(RacePart(SEEDS_ID, "2 of the candidates with 2 more seeds", proof.trials))
    clock.now += 20.0
    for name in ("batchnorm", ""):
        progress.on_event(running(trial(name, 1), 0, 360))
        progress.on_event(running(trial(name, 1), 180, 360))
    left = (4 * 380 - 400) / (203 + 400) * 20  # as where no part was planned
    assert progress.summary().endswith(f"about {left:.0f} s left of it")


def test_a_low_terminal_shows_the_leaders_and_the_control_and_counts_the_rest() -> None:
    lines = drawn(after_first_rung(Clock()), height=9)
    assert len(lines) <= 9
    assert "and 2 other candidates" in "\n".join(lines)
    assert [line.split()[0] for line in lines if "█" in line or "░" in line] == ["batchnorm", "tailored-activation", "as"]


def test_before_the_first_event_it_is_one_line() -> None:
    progress = RaceProgress(Clock())
    assert [line.strip() for line in drawn(progress)] == ["starting · 0 s so far"]
    progress.on_part(RacePart(CONTROL_ID, "watching it as it is", 1))
    assert [line.strip() for line in drawn(progress)] == ["watching it as it is · 0 of 1 trial of this part · 0 s so far"]


def test_the_board_is_drawn_in_a_terminal_and_leaves_it() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system="standard", legacy_windows=False)
    threads = set(threading.enumerate())
    with RaceBoard(console, clock=Clock()) as board:
        board.on_part(RacePart(CONTROL_ID, "watching it as it is", 1))
        board.on_event(running(trial(), 7))
    text = file.getvalue()
    assert "watching it as it is" in text
    assert "as it is" in text
    assert text.rstrip("\n").endswith("\x1b[2K")  # the last that it writes is the emptying of its lines
    for thread in set(threading.enumerate()) - threads:
        thread.join(timeout=5)
        assert not thread.is_alive()


def logged(events: Sequence[TrialEvent]) -> list[str]:
    file, clock = io.StringIO(), Clock()
    with RaceLog(Console(file=file, width=40), clock=clock) as log:
        log.on_part(RacePart(rung_id(0, 1), "rung 1 of 3, to step 40", 7))
        clock.now = 75.0
        for event in events:
            log.on_event(event)
    return file.getvalue().splitlines()


def test_the_log_has_a_line_for_each_part_and_each_trial_that_waits_ends_or_was_stopped() -> None:
    lines = logged(
        [
            running(trial("elu"), 3),
            ended(trial("elu"), 40, 0.5, paused=True),
            stopped(trial("elu"), 40),
            ended(trial("relu + he-init", 2), 360, 0.1),
            ended(trial("muon"), 0, math.nan, failure="not applied: [no] matrix"),
        ]
    )
    assert [line.strip() for line in lines] == [
        "0.0 s  rung 1 of 3, to step 40 (7 trials)",
        "1 min 15 s    elu: waiting at step 40, loss 0.5000",
        "1 min 15 s    elu: stopped at step 40",
        "1 min 15 s    relu + he-init, seed 2: ended at step 360, loss 0.1000",
        "1 min 15 s    muon: failed: not applied: [no] matrix",
    ]


@pytest.mark.parametrize(
    ("options", "environment", "kind"),
    [
        ({"force_terminal": True, "color_system": "standard"}, {"TERM": "xterm"}, RaceBoard),
        ({"force_terminal": True}, {"TERM": "dumb"}, RaceLog),
        ({"force_terminal": True, "no_color": True}, {"TERM": "xterm"}, RaceLog),
        ({"force_terminal": False}, {}, RaceLog),
    ],
    ids=["a terminal", "a dumb one", "no colour", "a file"],
)
def test_the_board_is_for_terminals_that_can_draw_it(options: dict[str, object], environment: dict[str, str], kind: type) -> None:
    console = Console(file=io.StringIO(), _environ=environment, **options)  # pyright: ignore[reportArgumentType]
    assert isinstance(race_display(console), kind)
    assert isinstance(race_display(console, quiet=True), NoDisplay)
