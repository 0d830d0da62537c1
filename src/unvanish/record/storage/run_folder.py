"""Reads the record of a run's folder: its own file, or those of the processes that trained, merged; and stores a merged record.

The processes of a run keep a file each in the folder `ranks`. Those that made no training step have none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from unvanish.errors import RecordError
from unvanish.record.quantities import Axis, Reading, StepMark, Vector, quantities
from unvanish.record.ranks.merge import merge_runs
from unvanish.record.ranks.process import TrainingProcess
from unvanish.record.run import Facts, Run
from unvanish.record.storage.file_names import RANKS_FOLDER, RUN_FILE
from unvanish.record.storage.journal import Journal, load
from unvanish.record.storage.serialisation import from_plain


@dataclass(frozen=True, slots=True)
class _RankFile:
    """The file of one process, and what decides whether and where it is merged."""

    path: Path
    process: TrainingProcess
    steps: int


def rank_files(folder: Path) -> list[Path]:
    """The files of a run's processes, by name; without the run's own."""
    return sorted((folder / RANKS_FOLDER).glob("*.sqlite"))


def load_folder(folder: Path) -> Run:
    """The record of a run's folder; where several processes trained, of all of them together.

    Raises RecordError where there is none, or it cannot be read. A process whose file cannot be read is left out, and named in
    `facts.faults`.
    """
    own = load(folder / RUN_FILE) if (folder / RUN_FILE).is_file() else None
    if own is not None and own.facts.ranks:
        return own
    merged = merge_folder(folder)
    if merged is not None:
        return merged
    return own if own is not None else load(folder / RUN_FILE)


def merge_folder(folder: Path) -> Run | None:
    """The merged record of the processes of a folder that trained one network together; None where fewer than two files are there.

    These are the processes of the run's own job where that trained itself, otherwise those that trained most.
    """
    paths, faults = [*rank_files(folder)], list[str]()
    if not paths:
        return None
    own = [folder / RUN_FILE] if (folder / RUN_FILE).is_file() else []
    files = [file for path in [*own, *paths] if (file := _read_head(path, faults)) is not None]
    runs = _load_each(choose_processes(files), faults)
    first = next(runs, None)
    if first is None:
        return None
    merged = merge_runs(chain([first], runs))
    return merged if not faults else replace(merged, facts=replace(merged.facts, faults=(*merged.facts.faults, *faults)))


def _read_head(path: Path, faults: list[str]) -> _RankFile | None:
    """What decides whether a file is merged, without reading it all; None where it has no step, or cannot be read."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)) as connection:
            (steps,) = connection.execute("SELECT max(step) FROM step").fetchone()
            (body,) = connection.execute("SELECT body FROM document WHERE name = 'facts'").fetchone() or ("{}",)
        return _RankFile(path, from_plain(Facts, json.loads(body)).process or TrainingProcess(0), steps) if steps else None
    except (sqlite3.Error, ValueError, RecordError) as fault:
        faults.append(f"{path}: {fault}")
        return None


def choose_processes(files: Sequence[_RankFile]) -> list[_RankFile]:
    """The files of one job, by rank. Of a rank that was started again, the last one counts."""
    jobs: dict[str, dict[int, _RankFile]] = {}
    for file in sorted(files, key=lambda file: file.process.started):
        process = file.process
        jobs.setdefault(process.job, {})[process.process_id if process.rank is None else -1 - process.rank] = file
    own = next((file for file in files if file.path.name == RUN_FILE and file.path.parent.name != RANKS_FOLDER), None)
    if own is not None:
        job = jobs[own.process.job]
    else:
        job = max(jobs.values(), key=lambda job: sum(file.steps for file in job.values()), default={})
    return sorted(job.values(), key=_order)


def _order(file: _RankFile) -> tuple[int, int, float]:
    rank = file.process.rank
    return (rank if rank is not None else 2**31, file.process.number, file.process.started)


def _load_each(files: Sequence[_RankFile], faults: list[str]) -> Iterator[Run]:
    """The runs that can be read, one at a time; what is wrong with the others is added to `faults`."""
    for file in files:
        try:
            yield load(file.path)
        except RecordError as fault:
            faults.append(str(fault))


def store_run(path: Path, run: Run) -> None:
    """Writes a whole record to a new file, and puts it in the place of `path` at once.

    Raises RecordError where the file cannot be written.
    """
    draft = path.with_name(f"{path.name}.merged")
    draft.unlink(missing_ok=True)
    journal = Journal.create(draft)
    try:
        journal.write(facts=run.facts, structure=run.structure, race=run.race, examination=run.examination)
        marks = [
            StepMark(int(step), float(ended_s), tuple(float(loss) for loss in losses))
            for step, ended_s, losses in zip(run.steps, run.ended_s, run.losses, strict=True)
        ]
        journal.write(marks=marks, metrics=run.metrics)
        for row, step in enumerate(run.sampled):
            journal.write(reading=Reading(int(step), 0.0, {axis: _pack_row(run, axis, row) for axis in Axis}))
    finally:
        journal.close()
    for suffix in ("-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    draft.replace(path)


def _pack_row(run: Run, axis: Axis, row: int) -> Vector:
    """The values of one axis at one sampled step, of shape (quantities of the axis, length of the axis)."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
        return np.stack([run.readings[quantity.name][row] for quantity in quantities(axis)]).astype(np.float32)
