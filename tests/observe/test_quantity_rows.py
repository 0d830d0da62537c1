"""Numbers are packed into the rows of a reading by the names of their quantities, never by position."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_networks import EveryKindOfLayer
from watching import observe_training

from unvanish.observe.statistics.quantity_rows import pack_rows
from unvanish.record import quantities as quantity_table
from unvanish.record.quantities import QUANTITIES, Axis, Quantity, quantities
from unvanish.record.run import Run


def train_four_steps() -> Run:
    """The record of a training at which every quantity is measured."""

    def train() -> None:
        torch.manual_seed(2)
        network = EveryKindOfLayer()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(4):
            inputs, labels = torch.randn(24, 6), torch.randint(3, (24,))
            logits, amounts = network(inputs)
            optimizer.zero_grad()
            (F.cross_entropy(logits, labels) + F.binary_cross_entropy_with_logits(amounts, torch.rand(24, 2))).backward()
            optimizer.step()

    return observe_training(train)


def insert_quantities(position: int) -> tuple[Quantity, ...]:
    """The table with an additional quantity at that position among those of each axis."""
    table: list[Quantity] = []
    for axis in Axis:
        rows = list(quantities(axis))
        rows.insert(position, Quantity(f"added_to_{axis}", "1", axis, "an additional quantity"))
        table += rows
    return tuple(table)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_quantity_added_to_the_table_shifts_no_other_one(position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = train_four_steps()
    monkeypatch.setattr(quantity_table, "QUANTITIES", insert_quantities(position))
    after = train_four_steps()
    for axis in Axis:
        assert np.isnan(after.readings[f"added_to_{axis}"]).all()
    for quantity in QUANTITIES:
        assert not np.isnan(before.readings[quantity.name]).all(), quantity.name
        np.testing.assert_array_equal(after.readings[quantity.name], before.readings[quantity.name], err_msg=quantity.name)


def test_a_row_has_nan_for_what_was_not_measured() -> None:
    rows = pack_rows(Axis.PARAMETER, {2: {"unit_spread": 0.25}}, 4)
    names = [quantity.name for quantity in quantities(Axis.PARAMETER)]
    assert (rows.shape, rows.dtype) == ((len(names), 4), np.float32)
    assert rows[names.index("unit_spread"), 2] == 0.25
    assert np.isnan(rows).sum() == rows.size - 1


@pytest.mark.parametrize("name", ["activation_mean", "no_such_quantity"])
def test_a_name_that_is_no_quantity_of_the_axis_is_an_error_that_says_where_to_add_it(name: str) -> None:
    with pytest.raises(
        LookupError, match=rf"no quantity '{name}' of axis 'parameter': add it to QUANTITIES in unvanish/record/quantities"
    ):
        pack_rows(Axis.PARAMETER, {0: {name: 1.0}}, 1)
