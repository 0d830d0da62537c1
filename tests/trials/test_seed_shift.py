"""A shifted script draws what it would have drawn with other seeds; offset 0 changes nothing that it seeds."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from unvanish.trials import shift_seeds

Draw = Callable[[int], float]


def drawn(seed_by: Callable[[], object], draw: Callable[[], float]) -> float:
    seed_by()
    return draw()


WAYS: dict[str, Draw] = {
    "random.seed": lambda s: drawn(lambda: random.seed(s), random.random),
    "random.seed by name": lambda s: drawn(lambda: random.seed(a=s), random.random),
    "random.Random": lambda s: random.Random(s).random(),
    "numpy.random.seed": lambda s: drawn(lambda: np.random.seed(s), np.random.rand),
    "numpy.random.seed by name": lambda s: drawn(lambda: np.random.seed(seed=s), np.random.rand),
    "numpy.random.seed by a numpy number": lambda s: drawn(lambda: np.random.seed(np.int64(s)), np.random.rand),
    "numpy.random.default_rng": lambda s: np.random.default_rng(s).random(),
    "numpy.random.default_rng by name": lambda s: np.random.default_rng(seed=s).random(),
    "numpy.random.RandomState": lambda s: np.random.RandomState(s).rand(),
    "torch.manual_seed": lambda s: drawn(lambda: torch.manual_seed(s), lambda: torch.rand(1).item()),
    "torch.random.manual_seed": lambda s: drawn(lambda: torch.random.manual_seed(seed=s), lambda: torch.rand(1).item()),
}


@pytest.fixture(autouse=True)
def _random_state_is_left_alone() -> object:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.mark.parametrize("draw", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("offset", [0, 3])
def test_every_way_of_seeding_is_shifted_by_the_offset(draw: Draw, offset: int) -> None:
    plain = draw(7 + offset)
    with shift_seeds(offset):
        assert draw(7) == plain
    assert draw(7 + offset) == plain


SEEDLESS: dict[str, Callable[[], float]] = {
    "random": random.random,
    "numpy": np.random.rand,
    "numpy.random.default_rng": lambda: np.random.default_rng().random(),
    "numpy.random.RandomState": lambda: np.random.RandomState().rand(),
}


@pytest.mark.parametrize("draw", SEEDLESS.values(), ids=SEEDLESS.keys())
def test_a_script_that_never_seeds_draws_the_same_in_every_trial_of_one_number(draw: Callable[[], float]) -> None:
    values: dict[int, list[list[float]]] = {0: [], 1: []}
    for offset in (0, 1, 0, 1):
        with shift_seeds(offset):
            values[offset].append([draw(), draw()])
    assert values[0][0] == values[0][1]
    assert values[1][0] == values[1][1]
    assert len({*values[0][0], *values[1][0]}) == 4


def test_texts_arrays_and_states_keep_their_meaning() -> None:
    with shift_seeds(2):
        random.seed("text")
        np.random.seed([1, 2])
        values = random.random(), np.random.rand(), np.random.default_rng(np.random.SeedSequence(5)).random()
    random.seed("text")
    np.random.seed([1, 2])
    assert values == (random.random(), np.random.rand(), np.random.default_rng(np.random.SeedSequence(5)).random())


def test_the_stand_in_for_a_class_passes_for_it() -> None:
    original = np.random.RandomState
    with shift_seeds(2):

        class Mine(np.random.RandomState):
            pass

        assert isinstance(original(1), np.random.RandomState)
        assert isinstance(np.random.RandomState(1), original)
        assert issubclass(original, np.random.RandomState)
        assert isinstance(Mine(1), Mine)
        assert not isinstance(original(1), Mine)
    assert np.random.RandomState is original


def test_everything_is_put_back() -> None:
    named = [(random, "seed"), (random.Random, "seed"), (np.random, "seed"), (np.random, "default_rng"), (np.random, "RandomState")]
    named += [(torch, "manual_seed"), (torch.random, "manual_seed"), (torch.cuda, "manual_seed"), (torch.cuda, "manual_seed_all")]
    before, finders = [getattr(owner, name) for owner, name in named], list(sys.meta_path)
    with pytest.raises(ZeroDivisionError), shift_seeds(1):
        raise ZeroDivisionError
    assert [getattr(owner, name) for owner, name in named] == before
    assert sys.meta_path == finders


SCRIPT = """
import sys
from unvanish.trials import shift_seeds
with shift_seeds({offset}):
    assert not {{"numpy", "torch"}} & set(sys.modules)
    import torch, numpy
    first = torch.rand(1).item()
    torch.manual_seed(7)
    print(first, torch.rand(1).item(), numpy.random.rand())
"""


def test_libraries_that_the_script_imports_later_are_met() -> None:
    lines = [
        subprocess.run([sys.executable, "-c", SCRIPT.format(offset=n)], capture_output=True, text=True, check=True).stdout.split()
        for n in (0, 2)
    ]
    for offset, (_, seeded, unseeded) in zip((0, 2), lines, strict=True):
        assert float(seeded) == torch.rand(1, generator=torch.Generator().manual_seed(7 + offset)).item()
        assert float(unseeded) == np.random.RandomState(offset).rand()
    assert lines[0][0] != lines[1][0]
