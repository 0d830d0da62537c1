"""Packs numbers, given by the name of their quantity, into the rows of a reading."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from unvanish.observe.statistics.tensor_statistics import Number, read_back
from unvanish.record.quantities import Axis, Vector, quantities


def pack_rows(axis: Axis, numbers: Mapping[int, Mapping[str, float]], length: int) -> Vector:
    """The numbers of one axis as float32 of shape (quantities of the axis, `length`); NaN for what was not measured.

    `numbers` has, for each index along the axis, its numbers by quantity name. Rows are in the order of `quantities(axis)`,
    whatever the order of the names here. Raises LookupError for a name that is no quantity of the axis.

    Example:
        >>> rows = pack_rows(Axis.GROUP, {1: {"learning_rate": 0.5}}, 2)
        >>> rows.shape, rows[0].tolist()
        ((2, 2), [nan, 0.5])
    """
    row_of = {quantity.name: row for row, quantity in enumerate(quantities(axis))}
    values = np.full((len(row_of), length), np.nan, np.float32)
    for index, by_name in numbers.items():
        for name, value in by_name.items():
            if name not in row_of:
                raise LookupError(
                    f"no quantity {name!r} of axis {axis.value!r}: add it to QUANTITIES in unvanish/record/quantities.py, "
                    f"or use one of {', '.join(row_of)}"
                )
            values[row_of[name], index] = value
    return values


def read_back_named(numbers: Mapping[int, Mapping[str, Number]]) -> dict[int, dict[str, float]]:
    """The same numbers as floats, with one transfer for each device."""
    values = iter(read_back([number for by_name in numbers.values() for number in by_name.values()]))
    return {index: {name: next(values) for name in by_name} for index, by_name in numbers.items()}
