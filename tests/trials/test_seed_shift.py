"""With shifted seeds a script draws the numbers of other seeds; offset 0 changes nothing that it seeds."""

from __future__ import annotations

import functools
import random
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from unvanish.trials import shift_seeds

Draw = Callable[[int], float]


def seed_and_draw(seed_by: Callable[[], object], draw: Callable[[], float]) -> float:
    seed_by()
    return draw()


SEEDED: dict[str, Draw] = {
    "random.seed": lambda s: seed_and_draw(lambda: random.seed(s), random.random),
    "random.seed by name": lambda s: seed_and_draw(lambda: random.seed(a=s), random.random),
    "random.Random": lambda s: random.Random(s).random(),
    "numpy.random.seed": lambda s: seed_and_draw(lambda: np.random.seed(s), np.random.rand),
    "numpy.random.seed by name": lambda s: seed_and_draw(lambda: np.random.seed(seed=s), np.random.rand),
    "numpy.random.seed by a numpy number": lambda s: seed_and_draw(lambda: np.random.seed(np.int64(s)), np.random.rand),
    "numpy.random.default_rng": lambda s: np.random.default_rng(s).random(),
    "numpy.random.default_rng by name": lambda s: np.random.default_rng(seed=s).random(),
    "numpy.random.RandomState": lambda s: np.random.RandomState(s).rand(),
    "torch.manual_seed": lambda s: seed_and_draw(lambda: torch.manual_seed(s), lambda: torch.rand(1).item()),
    "torch.random.manual_seed": lambda s: seed_and_draw(lambda: torch.random.manual_seed(seed=s), lambda: torch.rand(1).item()),
}


@pytest.fixture(autouse=True)
def _random_state_is_left_alone() -> object:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def test_seeds_are_shifted_where_the_compiler_has_wrapped_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch.random.manual_seed
    monkeypatch.setattr(torch, "manual_seed", functools.wraps(original)(lambda seed: original(seed)))
    for name in ("torch.manual_seed", "torch.random.manual_seed"):
        expected = SEEDED[name](10)
        with shift_seeds(3):
            assert SEEDED[name](7) == expected
        assert SEEDED[name](10) == expected


@pytest.mark.parametrize("draw", SEEDED.values(), ids=SEEDED.keys())
@pytest.mark.parametrize("offset", [0, 3])
def test_every_seeding_function_is_shifted_by_the_offset(draw: Draw, offset: int) -> None:
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
def test_an_unseeded_script_draws_the_same_in_every_trial_of_one_number(draw: Callable[[], float]) -> None:
    values: dict[int, list[list[float]]] = {0: [], 1: []}
    for offset in (0, 1, 0, 1):
        with shift_seeds(offset):
            values[offset].append([draw(), draw()])
    assert values[0][0] == values[0][1]
    assert values[1][0] == values[1][1]
    assert len({*values[0][0], *values[1][0]}) == 4


def test_seeds_that_are_texts_arrays_or_states_are_not_shifted() -> None:
    with shift_seeds(2):
        random.seed("text")
        np.random.seed([1, 2])
        values = random.random(), np.random.rand(), np.random.default_rng(np.random.SeedSequence(5)).random()
    random.seed("text")
    np.random.seed([1, 2])
    assert values == (random.random(), np.random.rand(), np.random.default_rng(np.random.SeedSequence(5)).random())


def test_the_replacement_of_a_class_passes_for_it() -> None:
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


def test_every_function_is_restored() -> None:
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


def test_libraries_that_the_script_imports_later_are_patched() -> None:
    lines = [
        subprocess.run([sys.executable, "-c", SCRIPT.format(offset=n)], capture_output=True, text=True, check=True).stdout.split()
        for n in (0, 2)
    ]
    for offset, (_, seeded, unseeded) in zip((0, 2), lines, strict=True):
        assert float(seeded) == torch.rand(1, generator=torch.Generator().manual_seed(7 + offset)).item()
        assert float(unseeded) == np.random.RandomState(offset).rand()
    assert lines[0][0] != lines[1][0]
