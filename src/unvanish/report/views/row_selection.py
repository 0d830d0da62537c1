"""Which sites and which steps a picture shows: all of a small network, a fair choice of a large one, and words that say so.

It chooses and aligns; it never alters a value, and never fills in one that was not measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unvanish.record.run import Matrix, Run, Steps

Item = TypeVar("Item")

EVERY_SITE = 40  # rows that can still be told apart with a label each
ROWS = 60  # rows that fit on one screen
COLUMNS = 200
LAYER_KINDS = ("weight", "recurrence", "attention", "embedding")


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rows of a picture, from the input to the output: site indices, their labels, and what was chosen, in words."""

    sites: tuple[int, ...]
    labels: tuple[str, ...]
    note: str

    def __len__(self) -> int:
        return len(self.sites)

    def rows_of(self, places: tuple[str, ...]) -> list[int]:
        """The rows that any of the places names: a site's label, or a parameter of it."""
        return [
            row
            for row, label in enumerate(self.labels)
            if any(place == label or place.startswith(f"{label}.") or label.startswith(f"{place}:") for place in places)
        ]


def measured(run: Run, quantity: str) -> Matrix:
    """The quantity's readings as float64 of shape (sampled steps, sites or parameters); no columns where there are none."""
    return run.readings.get(quantity, np.full((len(run.sampled), 0), np.nan))


def ladder(run: Run, known: NDArray[np.bool_], *, kind: str | None = None) -> Ladder:
    """The rows for one quantity: every site that is ever `known`, bool of shape (sampled steps, sites), or a fair choice.

    Up to 40 sites all are shown; beyond, the layers that have weights; beyond 60 of those, 60 chosen evenly with the first
    and the last. `kind` keeps one kind of site only.
    """
    seen = {int(i) for i in np.flatnonzero(known.any(axis=0))}
    sites = [i for i in run.anatomy.in_order() if i in seen and (kind is None or run.anatomy.sites[i].kind == kind)]
    total = len(sites)
    note = "" if total <= EVERY_SITE else f"all {total} sites"
    if total > EVERY_SITE and kind is None:
        layers = [i for i in sites if run.anatomy.sites[i].kind in LAYER_KINDS]
        if len(layers) >= 2:
            sites, note = layers, f"the {len(layers)} layers with weights, of {total} sites"
    if len(sites) > ROWS:
        note = f"{ROWS} of {note.removeprefix('the ').removeprefix('all ')}, evenly chosen"
        sites = evenly(sites, ROWS)
    return Ladder(tuple(sites), tuple(run.anatomy.site_label(i) for i in sites), note)


def evenly(items: list[Item], most: int) -> list[Item]:
    """At most `most` of the items, evenly spaced, always with the first and the last."""
    if len(items) <= most:
        return items
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))]


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a picture: positions among the sampled steps, the step numbers, and the edges between columns."""

    positions: NDArray[np.int64]
    steps: Steps
    edges: NDArray[np.float64]
    note: str


def columns(run: Run, known: NDArray[np.bool_]) -> Columns:
    """At most 200 sampled steps, evenly chosen; each column reaches half-way to its neighbours, so that the axis is true.

    `known`, of shape (sampled steps, rows), says where there is a number. Of a tail of steps that hold none, only as many are
    kept as came before it: a network that broke down at once would else be a picture of nothing.
    """
    total = len(run.sampled)
    last = max((int(step) for step in np.flatnonzero(known.any(axis=1))), default=total)
    positions = np.array(evenly(list(range(min(total, 2 * last + 3))), COLUMNS), np.int64)
    steps = run.sampled[positions]
    middles = (steps[1:] + steps[:-1]) / 2
    edges = np.concatenate([[steps[0] - 0.5], middles, [steps[-1] + 0.5]])
    thinned = f"{len(positions)} of {total} sampled steps" if len(positions) < total else ""
    cut = f"steps 1 to {steps[-1]:,}, as later ones hold no number" if positions[-1] < total - 1 else thinned
    return Columns(positions, steps, edges, cut)


def shown_note(rows: Ladder, across: Columns) -> str:
    """What was chosen, as a sentence that follows another; nothing where all is shown."""
    notes = [note for note in (rows.note, across.note) if note]
    return f" Shown: {', '.join(notes)}." if notes else ""


def over_steps(values: Matrix, reduce: Callable[[Matrix], float] = np.median) -> NDArray[np.float64]:
    """One figure a column from its measured values (NaN left out; all NaN stays NaN); float64 of shape (columns,)."""
    kept = [column[~np.isnan(column)] for column in values.T]
    return np.array([reduce(column) if column.size else np.nan for column in kept], np.float64)
