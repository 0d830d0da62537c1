"""Rows of a made-up run, and the comparison of what was written with what is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unvanish.record.quantities import QUANTITIES, Axis, Metric, Reading, StepMark, quantities
from unvanish.record.run import Facts, Run
from unvanish.record.storage.journal import Journal
from unvanish.record.storage.row_checksums import with_checksums
from unvanish.record.structure import Head, Location, ModelStructure, Network, OptimizerGroup, Parameter, Site

SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 3e38)


@dataclass(frozen=True, slots=True)
class Row:
    """What one transaction writes."""

    reading: Reading
    marks: tuple[StepMark, ...]
    metrics: tuple[Metric, ...]


def row(step: int, widths: tuple[int, ...] = (4, 3, 1, 1, 2), *, objectives: int = 1) -> Row:
    """The row of a step, the same for the same arguments; its values hold NaN, infinities and extremes. `widths` by axis."""
    random = np.random.default_rng([step, *widths])
    values = {}
    for axis, width in zip(Axis, widths, strict=True):
        drawn = random.normal(size=(len(quantities(axis)), width)).astype(np.float32)
        odd = random.random(drawn.shape) < 0.2
        drawn[odd] = random.choice(np.array(SPECIAL, np.float32), odd.sum())
        values[axis] = drawn
    losses = tuple(random.choice([np.nan, np.inf, 2.5, 1e-300], objectives).tolist())
    metrics = (Metric(step, "accuracy", float(random.normal())), Metric(step, "odd", float("nan")))
    return Row(Reading(step, step / 7, values), (StepMark(step, step * 0.1, losses),), metrics)


def model_structure(sites: int = 4, parameters: int = 3, groups: int = 1, heads: int = 2) -> ModelStructure:
    """A structure of that size."""
    return ModelStructure(
        (Network("net", "Sequential"),),
        tuple(Site(0, str(i), "linear", "weight", i) for i in range(sites)),
        tuple(Parameter(0, f"{i}.weight", (2, 3), group=0) for i in range(parameters)),
        tuple(OptimizerGroup(0, "SGD", (("lr", 0.1),)) for _ in range(groups)),
        tuple(Head(0, "squared", ("tanh", "scaled"), 3, 0, turn=i, location=Location("train.py", 7)) for i in range(heads)),
    )


def write(journal: Journal, rows: Sequence[Row]) -> None:
    """One transaction a row, with facts and structure before them."""
    journal.write(facts=Facts(script="train.py"), structure=model_structure())
    for r in rows:
        journal.write(reading=r.reading, marks=r.marks, metrics=r.metrics)


def store_document(path: Path, name: str, body: str) -> None:
    """Puts a document of that name into a run's file, whatever it holds."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT OR REPLACE INTO document VALUES (?, ?, ?)", with_checksums("document", [(name, body)]))


def assert_holds(run: Run, rows: Sequence[Row]) -> None:
    """The run is exactly these rows, late columns padded with NaN."""
    assert run.sampled.tolist() == run.steps.tolist() == [r.reading.step for r in rows]
    for axis in Axis:
        width = max((r.reading.values[axis].shape[1] for r in rows), default=0)
        for index, quantity in enumerate(quantities(axis)):
            expected = np.full((len(rows), width), np.nan)
            for line, r in zip(expected, rows, strict=True):
                line[: r.reading.values[axis].shape[1]] = r.reading.values[axis][index]
            np.testing.assert_array_equal(run.readings[quantity.name], expected)
    assert len(run.readings) == len(QUANTITIES)
    width = max((len(r.marks[0].losses) for r in rows), default=0)
    losses = np.full((len(rows), width), np.nan)
    for line, r in zip(losses, rows, strict=True):
        line[: len(r.marks[0].losses)] = r.marks[0].losses
    np.testing.assert_array_equal(run.losses, losses)
    np.testing.assert_array_equal(run.ended_s, [r.marks[0].ended_s for r in rows])
    assert repr(run.metrics) == repr(tuple(m for r in rows for m in r.metrics))
