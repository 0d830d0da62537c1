"""Names in the code are the field's words: none of the metaphors that were replaced by them comes back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "tests", "benchmarks", "compatibility", "examples")
FILES = sorted(path for folder in FOLDERS for path in (PROJECT / folder).rglob("*.py"))

# Comments say where they were, and some of their replacements.
OLD_MODULES = {
    *("clinic", "checking", "curing", "driven", "rehearsal", "prescribe", "runfolder", "worktree"),  # workflows/
    *("dispensary", "doors"),  # plugins/
    *("callsite", "examine", "handbook"),  # source_location, examination, docgen/
    *(
        "atlas",
        "audience",
        "judgement",
        "marks",
        "pulse",
    ),  # observe/: model_index, head_observer, head_metrics, step_log, step_boundary
    *("anatomy", "raced", "treatment"),  # record/: structure, stored_race, change
    *("fold",),  # diagnose/group_by_root
    *("calm", "look", "fed"),  # tracing/: preserved_state, spectra, inputs_and_loss
    *("survey", "stand_in", "enrolment", "time_span", "shelf", "contract"),  # remedies/
    *("ladder", "standing", "referee"),  # race/: successive_halving, ranking, verdicts
    *("merits", "overheard", "ledger", "leaving"),  # trials/: metric_names, printed_output, result_cache, process_exit
    *("crew", "portrait", "census", "promises"),  # worker_pool, state_snapshot, module_identity, invariants
}
OLD_NAMES = {
    *("Told", "Wishes", "Author", "Door", "Admission", "Leaf"),  # FixCallbacks, FixOptions, CandidateWriter, Plugin*, DocEntry
    *("foretold", "engaged", "with_pen"),  # with_prediction, open_engine, TracedFlow
    *("Pulse", "beats", "pacemaker", "Atlas", "Audience", "hear", "Way", "Marks"),  # observe/
    *("Sighting", "Movement", "Still", "Seen", "calm", "luck"),
    *("Anatomy", "Birth", "Blueprint", "Raced", "Chart", "pace", "paces"),  # record/ and diagnose/
    *("fed", "look_again", "Unlookable", "Chance"),  # prepare_inputs, retrace_step, NotRetraceable, LayerVariance
    *("survey", "Layout", "stand_in", "rehearse", "Takeover", "Pace", "shelf", "own_shelf"),  # remedies/
    *("Treatment", "overheard", "Patience", "Ledger", "Whereabouts", "News", "Seat", "Seats"),  # race/ and trials/
    *("portrait", "Census"),  # state_snapshot, ModuleIdentity
}


def names_in(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every identifier that a module defines, imports or reads as an attribute, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2], node.lineno


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_old_name_is_defined_or_used(folder: str) -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{line}: {name}"
        for path in FILES
        if path.is_relative_to(PROJECT / folder)
        for name, line in names_in(ast.parse(path.read_text(encoding="utf-8")))
        if name.strip("_") in OLD_NAMES
    ]
    assert found == []


def test_no_module_has_an_old_name() -> None:
    package = PROJECT / "src" / "unvanish"
    names = {path.stem for path in package.rglob("*.py")} | {path.name for path in package.rglob("*") if path.is_dir()}
    assert names & OLD_MODULES == set()
