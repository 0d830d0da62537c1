"""Selects the sites and sampled steps that a picture shows: all of a small network, evenly spaced ones of a large one.

Values are selected and aligned, never altered or filled in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unvanish.record.run import Matrix, Run, Steps
from unvanish.record.structure import LAYER_KINDS

Item = TypeVar("Item")

MAX_SITES_SHOWN_IN_FULL = 40  # rows that can be told apart with a label each
MAX_ROWS = 60  # rows that fit on one screen
MAX_COLUMNS = 200


@dataclass(frozen=True, slots=True)
class SiteRows:
    """The rows of a picture, from the input to the output: site indices, their labels, and a note on what was selected."""

    sites: tuple[int, ...]
    labels: tuple[str, ...]
    note: str

    def __len__(self) -> int:
        return len(self.sites)

    def find_rows(self, names: tuple[str, ...]) -> list[int]:
        """The rows that any of the names stands for: the label of a site, or of a parameter of it."""
        return [
            row
            for row, label in enumerate(self.labels)
            if any(name == label or name.startswith(f"{label}.") or label.startswith(f"{name}:") for name in names)
        ]


def get_readings(run: Run, quantity: str) -> Matrix:
    """The quantity's readings as float64 of shape (sampled steps, sites or parameters); no columns where there are none."""
    return run.readings.get(quantity, np.full((len(run.sampled), 0), np.nan))


def select_rows(run: Run, known: NDArray[np.bool_], *, kind: str | None = None) -> SiteRows:
    """The rows for one quantity: the sites at which it was measured, or an even selection of them.

    Up to 40 sites all are shown; beyond, the layers that have weights; beyond 60 of those, 60 evenly spaced with the first and the
    last.

    Arguments:
        known: bool of shape (sampled steps, sites), where there is a value.
        kind: keeps sites of that kind only, such as "activation"; None keeps all.
    """
    measured = {int(i) for i in np.flatnonzero(known.any(axis=0))}
    sites = [i for i in run.structure.in_order() if i in measured and (kind is None or run.structure.sites[i].kind == kind)]
    total = len(sites)
    note = "" if total <= MAX_SITES_SHOWN_IN_FULL else f"all {total} sites"
    if total > MAX_SITES_SHOWN_IN_FULL and kind is None:
        layers = [i for i in sites if run.structure.sites[i].kind in LAYER_KINDS]
        if len(layers) >= 2:
            sites, note = layers, f"the {len(layers)} layers with weights, of {total} sites"
    if len(sites) > MAX_ROWS:
        note = f"{MAX_ROWS} of {note.removeprefix('the ').removeprefix('all ')}, evenly chosen"
        sites = sample_evenly(sites, MAX_ROWS)
    return SiteRows(tuple(sites), tuple(run.structure.site_label(i) for i in sites), note)


def sample_evenly(items: list[Item], max_items: int) -> list[Item]:
    """At most `max_items` of the items, evenly spaced, always with the first and the last.

    Example:
        >>> sample_evenly(list(range(10)), 4)
        [0, 3, 6, 9]
    """
    if len(items) <= max_items:
        return items
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, max_items).round().astype(int))]


@dataclass(frozen=True, slots=True)
class StepColumns:
    """The columns of a picture: indices into the sampled steps, their numbers, the edges between columns, and a note."""

    indices: NDArray[np.int64]
    steps: Steps
    edges: NDArray[np.float64]
    note: str


def select_columns(run: Run, known: NDArray[np.bool_]) -> StepColumns:
    """At most 200 sampled steps, evenly spaced; each column reaches half-way to its neighbours, so that the axis is true to steps.

    Of steps at the end that hold no number, only as many are kept as there are steps before them: otherwise the picture of a
    network that broke down at once would be empty.

    Arguments:
        known: bool of shape (sampled steps, rows), where there is a number.
    """
    total = len(run.sampled)
    last = max((int(step) for step in np.flatnonzero(known.any(axis=1))), default=total)
    indices = np.array(sample_evenly(list(range(min(total, 2 * last + 3))), MAX_COLUMNS), np.int64)
    steps = run.sampled[indices]
    middles = (steps[1:] + steps[:-1]) / 2
    edges = np.concatenate([[steps[0] - 0.5], middles, [steps[-1] + 0.5]])
    sampling_note = f"{len(indices)} of {total} sampled steps" if len(indices) < total else ""
    note = f"steps 1 to {steps[-1]:,}, as later ones hold no number" if indices[-1] < total - 1 else sampling_note
    return StepColumns(indices, steps, edges, note)


def describe_selection(rows: SiteRows, columns: StepColumns) -> str:
    """The notes on the selected rows and columns as a sentence with a leading space; "" where all is shown."""
    notes = [note for note in (rows.note, columns.note) if note]
    return f" Shown: {', '.join(notes)}." if notes else ""


def reduce_over_steps(values: Matrix, reduce: Callable[[Matrix], float] = np.median) -> NDArray[np.float64]:
    """`reduce` over the steps of each column, without NaN; NaN where a column has nothing else.

    Arguments:
        values: shape (sampled steps, columns).

    Returns:
        float64 of shape (columns,).
    """
    measured = [column[~np.isnan(column)] for column in values.T]
    return np.array([reduce(column) if column.size else np.nan for column in measured], np.float64)
