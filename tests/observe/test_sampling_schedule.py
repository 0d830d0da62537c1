"""The schedule samples the first ten steps, each doubling, and between them what the budget allows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.observe.sampling_schedule import Schedule
from unvanish.observe.settings import Settings


def simulate(setting: Settings, steps: int, *, step_s: float, sample_s: float) -> tuple[list[int], float]:
    """The sampled steps of a training with a simulated clock, and the share of the time that samples took."""
    schedule, sampled, elapsed_s, own_s = Schedule(setting), [], 0.0, 0.0
    for step in range(1, steps + 1):
        wanted = schedule.should_sample(step, own_s=own_s, elapsed_s=elapsed_s)
        elapsed_s += step_s
        if wanted:
            elapsed_s, own_s = elapsed_s + sample_s, own_s + sample_s
            sampled.append(step)
            schedule.record_sample(step, sample_s)
    return sampled, own_s / elapsed_s


def test_the_first_ten_and_the_doublings_are_sampled_whatever_they_cost() -> None:
    sampled, _ = simulate(Settings(budget=0.0), 1000, step_s=0.01, sample_s=1.0)
    assert sampled == [*range(1, 11), 20, 40, 80, 160, 320, 640]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(budget=st.floats(0.001, 0.2), ratio=st.floats(0.01, 3))
def test_a_long_run_keeps_its_budget(budget: float, ratio: float) -> None:
    sampled, share = simulate(Settings(budget=budget), 20_000, step_s=0.01, sample_s=0.01 * ratio)
    unavoidable = 21 * ratio / 20_000
    assert share <= budget + unavoidable
    assert [step for step in sampled if step <= 10] == list(range(1, 11))


def test_cheap_samples_are_spread_evenly_over_the_decades() -> None:
    sampled, _ = simulate(Settings(budget=0.01), 100_000, step_s=0.1, sample_s=1e-5)
    for start in (100, 1000, 10_000):
        assert 90 <= sum(start <= step < 10 * start for step in sampled) <= 140
    assert sampled[-1] >= 0.97 * 100_000


@pytest.mark.parametrize(("every", "expected"), [(1, list(range(1, 13))), (5, [1, 5, 10])])
def test_every_n_samples_the_first_and_each_nth(every: int, expected: list[int]) -> None:
    assert simulate(Settings(every=every), 12, step_s=0.01, sample_s=9.0)[0] == expected


def test_one_slow_sample_is_forgotten_in_time() -> None:
    schedule = Schedule(Settings(budget=0.01))
    schedule.record_sample(11, 5.0)
    assert not schedule.should_sample(100, own_s=0.0, elapsed_s=400.0)
    for step in range(12, 30):
        schedule.record_sample(step, 0.001)
    assert schedule.should_sample(100, own_s=0.0, elapsed_s=400.0)
