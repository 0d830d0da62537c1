"""Proves that a candidate's cure survives a checkpoint: what its program saves, its program loads, and computes the same with it.

Two short trials: one makes a few steps and saves its network; the other, with other seeds, stops when the network is built, loads
that strictly and compares the outputs of one batch. What the script as it is cannot do either is not held against a cure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from unvanish.race.candidates import UNEDITED, EditedCandidate
from unvanish.trials.checkpoint import (
    LOAD_FUNCTION,
    LOADED_FOLDER,
    SAVE_FUNCTION,
    SAVE_STEPS,
    SAVED_FOLDER,
    CheckpointProof,
    read_proof,
)
from unvanish.trials.engines.engine import Engine
from unvanish.trials.script.execution import Script
from unvanish.trials.trial import Trial

ProveCheckpoint = Callable[[EditedCandidate], CheckpointProof]
"""Says whether a candidate's cure survives a checkpoint."""


def checkpoint_prover(script: Script, engine: Engine, folder: Path) -> ProveCheckpoint:
    """What proves the checkpoints of candidates of a script, by trials of an engine that keep their files in a folder."""

    def prove(edited: EditedCandidate) -> CheckpointProof:
        proof = save_and_load(edited, script, engine, folder / "checkpoint")
        if proof.holds is not False:
            return proof
        control = save_and_load(UNEDITED, script, engine, folder / "checkpoint-as-it-is")
        if control.holds is False:
            return CheckpointProof(why=f"the script as it is does not survive one either ({control.why})")
        return proof

    return prove


def save_and_load(edited: EditedCandidate, script: Script, engine: Engine, folder: Path) -> CheckpointProof:
    """Whether what the edited program saves after a few steps gives the same outputs in a network that it has just built."""
    save = Trial(
        script,
        edited.candidate,
        0,
        folder / SAVED_FOLDER,
        edited.edits,
        SAVE_STEPS,
        first_step_function=SAVE_FUNCTION,
        isolated=True,
    )
    load = replace(save, seed=1, folder=folder / LOADED_FOLDER, max_steps=1, first_step_function=LOAD_FUNCTION)
    for trial in (save, load):
        try:
            results = engine.advance([(trial, None)])
        except KeyboardInterrupt:
            results = []
        if not results:
            return CheckpointProof(why="the time was up")
        proof = read_proof(trial.folder)
        if proof is not None:
            return proof
        if results[0].failure is not None:
            return CheckpointProof(why=results[0].failure)
    return CheckpointProof(why="no call of the network was seen")
