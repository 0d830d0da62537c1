"""When a step begins and ends, which hooks exist between sampled steps, and what the observer records of a whole training."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import small_mlp
from torch import nn
from torch.nn.modules import module as module_hooks
from trainings import TRAININGS, draw
from watching import EVERY_STEP, observe_training, parameter_values, site_values, watching

import unvanish
from unvanish.observe import Progress, Settings, StopTraining


def train(steps: int, after_step: Callable[[int], None] = lambda step: None) -> None:
    network = small_mlp()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        network(draw(4, 6)).square().mean().backward()
        optimizer.step()
        after_step(step)


def test_hooks_exist_on_sampled_steps_only() -> None:
    present: dict[int, tuple[int, int]] = {}

    class Probe(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hooks = len(module_hooks._global_forward_pre_hooks) + len(module_hooks._global_forward_hooks)
            present[len(present) + 1] = (hooks, torch.overrides._len_torch_function_stack())
            return x

    def train_with_probe() -> None:
        network = nn.Sequential(nn.Linear(6, 4), Probe())
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(9):
            network(draw(4, 6)).square().mean().backward()
            optimizer.step()

    run = observe_training(train_with_probe, Settings(every=4))
    assert run.sampled.tolist() == [1, 4, 8]
    assert {step for step, counts in present.items() if counts == (2, 1)} == {1, 4, 8}
    assert {step for step, counts in present.items() if counts == (0, 0)} == {2, 3, 5, 6, 7, 9}


def test_a_fake_clock_keeps_the_budget() -> None:
    """Each reading of the clock takes a millisecond, so that observing has a cost, and each step half a second."""
    now = [0.0]

    def clock() -> float:
        now[0] += 0.001
        return now[0]

    def pass_time(step: int) -> None:
        now[0] += 0.5

    with watching(Settings(budget=0.01), clock=clock) as watched:
        train(120, pass_time)
    run = watched.run
    assert run.sampled.tolist()[:10] == list(range(1, 11))
    assert {20, 40, 80} <= set(run.sampled.tolist())
    assert len(run.sampled) < 60
    assert 0 < run.overhead < 0.06
    assert run.facts.wall_s == pytest.approx(now[0], abs=0.1)
    assert run.step_ms().min() >= 500


def test_the_cost_of_a_step_does_not_include_writing_the_one_before() -> None:
    """The clock moves only while a step is written, which takes a second."""
    now = [0.0]
    with watching(clock=lambda: now[0]) as watched:
        write = watched.journal.write

        def write_slowly(**rows: object) -> None:
            now[0] += 1.0
            write(**rows)  # type: ignore[arg-type]

        watched.observer._journal = type("Slow", (), {"write": staticmethod(write_slowly)})()
        costs: list[float] = []
        train(5, lambda step: costs.append(watched.observer._own_s - watched.observer._own_s_at_step_start))
    assert costs == [0.0] * 5
    assert watched.run.facts.own_s == pytest.approx(5.0)  # the last one is the close


@pytest.mark.parametrize("settings", [Settings(every=1, max_steps=4), Settings(max_steps=12), Settings(every=3, max_steps=7)])
def test_training_stops_at_max_steps(settings: Settings) -> None:
    done: list[int] = []
    with pytest.raises(StopTraining), watching(settings) as watched:
        train(100, done.append)
    assert len(done) == settings.max_steps - 1  # the last step ends within the optimizer's own
    assert watched.run.step_count == settings.max_steps
    assert watched.run.sampled[-1] <= settings.max_steps


@pytest.mark.parametrize("settings", [Settings(every=1, max_steps=4), Settings(every=3, max_steps=4)])
@pytest.mark.parametrize("kind", ["by hand through .data", "by hand under no_grad"])
def test_training_without_an_optimizer_stops_at_max_steps(kind: str, settings: Settings) -> None:
    with pytest.raises(StopTraining), watching(settings) as watched:
        TRAININGS[kind].run()
    assert watched.run.steps.tolist() == [1, 2, 3, 4]
    assert watched.run.sampled[-1] <= 4


def test_an_update_without_an_optimizer_is_measured() -> None:
    run = observe_training(TRAININGS["by hand under no_grad"].run)
    gradient = parameter_values(run, "log10_weight_gradient_rms", "0.weight")
    np.testing.assert_allclose(parameter_values(run, "log10_update_rms", "0.weight"), gradient - 1, atol=1e-3)


def test_progress_is_reported_at_intervals() -> None:
    now, reports = [0.0], list[Progress]()

    def pass_time(step: int) -> None:
        now[0] += 0.1

    with watching(clock=lambda: now[0], on_progress=reports.append) as watched:
        train(10, pass_time)
    assert [progress.step for progress in reports] == [4, 7, 10]
    losses = dict(zip(watched.run.steps.tolist(), watched.run.losses[:, 0].tolist(), strict=True))
    assert [progress.loss for progress in reports] == [losses[progress.step] for progress in reports]


def test_groups_added_to_an_optimizer_later_are_recorded() -> None:
    """As in fine-tuning, where layers are unfrozen one after the other."""

    def fine_tune() -> None:
        network = small_mlp()
        head = torch.optim.SGD(network[4].parameters(), lr=0.1)
        other = torch.optim.Adam(network[2].parameters(), lr=0.2)
        for step in range(4):
            if step == 2:
                head.add_param_group({"params": network[0].parameters(), "lr": 0.3})
            network(draw(4, 6)).square().mean().backward()
            head.step()
            other.step()

    run = observe_training(fine_tune)
    assert [(group.optimizer, group.class_name, group.setting("lr")) for group in run.structure.groups] == [
        (0, "SGD", 0.1),
        (1, "Adam", 0.2),
        (0, "SGD", 0.3),
    ]
    owners = {run.structure.parameter_label(i): p.group for i, p in enumerate(run.structure.parameters)}
    assert [owners[f"{layer}.weight"] for layer in (0, 2, 4)] == [2, 1, 0]
    np.testing.assert_allclose(run.readings["learning_rate"], [[0.1, 0.2, np.nan]] * 2 + [[0.1, 0.2, 0.3]] * 2, rtol=1e-6)


def test_the_learning_rate_is_the_one_that_the_step_used() -> None:
    def scheduled() -> None:
        network = small_mlp()
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        for _ in range(4):
            network(draw(4, 6)).square().mean().backward()
            optimizer.step()
            scheduler.step()

    assert observe_training(scheduled).readings["learning_rate"].tolist() == [[1.0], [0.5], [0.25], [0.125]]


def test_log_outside_a_run_does_nothing() -> None:
    assert unvanish.log(val_accuracy=0.9) is None


def test_log_refuses_what_is_no_number() -> None:
    with watching(), pytest.raises(unvanish.UnvanishError, match="takes one number"):
        unvanish.log(accuracy="high")


def test_log_is_recorded_with_its_step() -> None:
    def report(step: int) -> None:
        if step % 2 == 0:
            unvanish.log(accuracy=torch.tensor(step / 10), epoch=step)

    run = observe_training(lambda: train(4, report))
    assert [(m.step, m.name, pytest.approx(m.value)) for m in run.metrics] == [
        (2, "accuracy", 0.2),
        (2, "epoch", 2.0),
        (4, "accuracy", 0.4),
        (4, "epoch", 4.0),
    ]


def test_runs_nest_and_log_belongs_to_the_inner_one() -> None:
    outer_network, inner_network = small_mlp(), small_mlp()
    with watching(networks=(outer_network,)) as outer:
        unvanish.log(a=1)
        with watching(networks=(inner_network,)) as inner:
            unvanish.log(b=2)
            inner_network(torch.ones(2, 6)).sum().backward()
        unvanish.log(c=3)
    assert [m.name for m in outer.run.metrics] == ["a", "c"]
    assert [m.name for m in inner.run.metrics] == ["b"]


def test_only_the_given_networks_are_observed() -> None:
    chosen, other = small_mlp(), small_mlp()
    with watching(networks=(chosen,)) as watched:
        for network in (other, chosen):
            optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
            for _ in range(3):
                network(torch.ones(2, 6)).square().mean().backward()
                optimizer.step()
    assert len(watched.run.structure.networks) == 1
    assert len(watched.run.structure.parameters) == 6
    assert watched.run.losses.shape == (watched.run.step_count, 1)
    assert np.isfinite(site_values(watched.run, "log10_gradient_rms", "0")).sum() == 3


def test_a_thread_that_trains_a_network_of_its_own_is_not_disturbed() -> None:
    results: list[float] = []
    thread = threading.Thread(target=lambda: results.append(plain_loss()))
    expected = plain_loss()
    with watching(EVERY_STEP, networks=(small_mlp(),)) as watched:
        thread.start()
        thread.join()
    assert results == [expected]
    assert watched.warnings == []


def plain_loss() -> float:
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(3, 3, generator=generator).requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.tanh(weight @ weight).square().sum()
        loss.backward()
        optimizer.step()
    return loss.item()


FORKED = """
import os, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from small_networks import small_mlp
from unvanish.observe import Observer, Settings, collect_facts
from unvanish.record.storage.journal import Journal, load

torch.set_num_threads(1)
path = Path(sys.argv[1])
observer = Observer(Journal.create(path), collect_facts("fork.py"), settings=Settings(every=1, max_steps=6), warn=print)
observer.attach()
network = small_mlp()
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

def step():
    network(torch.ones(2, 6)).square().mean().backward()
    optimizer.step()

for _ in range(3):
    step()
child = os.fork()
if child == 0:
    for _ in range(20):  # far beyond max_steps: the child is not observed
        step()
    observer.close("finished")
    sys.exit(7)
assert os.waitpid(child, 0)[1] == 7 << 8
step()
observer.close("finished")
run = load(path)
assert run.steps.tolist() == run.sampled.tolist() == [1, 2, 3, 4], run.steps
assert run.facts.faults == ()
print("as it should be")
"""


@pytest.mark.skipif(os.name != "posix", reason="this system cannot fork")
def test_in_a_forked_child_the_observer_does_nothing(tmp_path: Path) -> None:
    script = [sys.executable, "-c", textwrap.dedent(FORKED), str(tmp_path / "run.sqlite"), str(Path(__file__).parent)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("as it should be\n", 0), done.stderr


def test_a_loss_that_the_script_keeps_keeps_nothing_of_ours_alive() -> None:
    network = small_mlp()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    kept: list[torch.Tensor] = []

    def alive() -> int:
        gc.collect()
        return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

    with watching(Settings(every=1)):
        counts: list[int] = []
        for _ in range(4):
            kept.append(network(torch.ones(2, 6)).square().mean())
            optimizer.zero_grad()
            kept[-1].backward()
            optimizer.step()
            counts.append(alive())
    assert counts[3] - counts[2] == counts[2] - counts[1] == 1  # the loss that the script kept
