"""Tests of what a race does with the proof that a cure survives a checkpoint, on made-up curves."""

from __future__ import annotations

from pathlib import Path

from simulated_race import CurveEngine, edited_candidates, settings

from unvanish.race import EditedCandidate, race
from unvanish.race.checkpoint_proof import ProveCheckpoint
from unvanish.record.races.verdict import Outcome, RaceResult
from unvanish.trials.checkpoint import CheckpointProof

CURVES = {
    "as it is": lambda step, seed: 2.3 + 0.01 * seed,
    "relu": lambda step, seed: 2.3 / step + 0.01 * seed,
    "elu": lambda step, seed: 2.4 / step + 0.011 * seed,
}


def raced(prove: ProveCheckpoint, folder: Path) -> RaceResult:
    engine = CurveEngine(CURVES)
    return race(edited_candidates("relu", "elu"), None, settings(engine, folder, all_seeds=True, prove_checkpoint=prove))


def test_a_cure_that_a_checkpoint_undoes_loses_to_the_next(tmp_path: Path) -> None:
    proved: list[str] = []

    def prove(edited: EditedCandidate) -> CheckpointProof:
        proved.append(edited.name)
        return CheckpointProof(len(proved) > 1, "its outputs differ")

    result = raced(prove, tmp_path)
    first, second = proved
    assert result.winner is not None
    assert result.winner.name == second != first
    lost = next(verdict for verdict in result.verdicts if verdict.name == first)
    assert lost.outcome is Outcome.FAILED
    assert lost.failure == "the cure does not survive a checkpoint: its outputs differ"


def test_nothing_wins_where_no_cure_survives(tmp_path: Path) -> None:
    result = raced(lambda edited: CheckpointProof(False, f"{edited.name} is lost"), tmp_path)
    assert result.winner is None
    assert {verdict.outcome for verdict in result.verdicts} == {Outcome.FAILED}


def test_what_could_not_be_judged_is_said_and_costs_no_win(tmp_path: Path) -> None:
    result = raced(lambda _: CheckpointProof(None, "the time was up"), tmp_path)
    assert result.winner is not None
    assert result.notes == ("Whether the cure survives a checkpoint could not be tested: the time was up.",)
