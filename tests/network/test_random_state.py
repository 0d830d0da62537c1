"""What is drawn while random states are kept leaves no trace in them, whatever the generator and however the block ends."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from unvanish.network.random_state import preserved_random_state

DRAWS: dict[str, Callable[[], float]] = {
    "Python": random.random,
    "numpy": lambda: float(np.random.rand()),
    "torch": lambda: torch.rand(1).item(),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
@pytest.mark.parametrize("fails", [False, True], ids=["ends", "fails"])
def test_the_next_number_is_that_of_a_program_that_drew_nothing(draw: Callable[[], float], fails: bool) -> None:
    with preserved_random_state([]):
        expected = draw()
    try:
        with preserved_random_state([]):
            random.seed(5)
            np.random.seed(5)
            torch.manual_seed(5)
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert draw() == expected
