"""`with unvanish.watch(model) as run`: the loop untouched, findings at any time, and nothing left of us behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import unvanish
from unvanish.workflows.watch import WatchedRun


def deep_sigmoid(depth: int = 9) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(12, 12), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(12, 3))


def train(model: nn.Module, steps: int = 30, *, outputs: int = 3) -> list[float]:
    """The losses of an ordinary loop."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 12, generator=generator)
    y = x[:, :outputs].argmax(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses: list[float] = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_loop_is_watched_and_its_findings_stay_after_it() -> None:
    torch.manual_seed(0)
    with unvanish.watch(deep := deep_sigmoid(), every=1) as run:
        assert run.findings == []
        losses = train(deep)
        during = run.findings
    assert [finding.code for finding in run.findings] == [finding.code for finding in during] == ["vanishing-gradient"]
    assert run.findings[0].sites[0] == "0"
    assert run.run.step_count == 30
    assert run.run.objective()[1].tolist() == losses
    assert run.run.facts.ending == "finished"


def test_the_training_is_bit_for_bit_what_it_is_unwatched() -> None:
    results: list[tuple[list[float], list[Any], Any]] = []
    for watching in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
        if watching:
            with unvanish.watch(model, every=1):
                losses = train(model)
        else:
            losses = train(model)
        results.append((losses, list(model.state_dict().values()), torch.get_rng_state()))
    alone, watched = results
    assert alone[0] == watched[0]
    assert all(torch.equal(a, b) for a, b in zip(alone[1], watched[1], strict=True))
    assert torch.equal(alone[2], watched[2])


def test_the_report_is_written_where_asked_at_any_time(tmp_path: Path) -> None:
    with unvanish.watch(model := deep_sigmoid()) as run:
        train(model, 12)
        assert run.report(tmp_path / "during.html") == tmp_path / "during.html"
    run.report(str(tmp_path / "after.html"))
    for name in ("during.html", "after.html"):
        assert "vanishing-gradient" in (tmp_path / name).read_text()


def test_an_exception_passes_through_and_is_the_runs_ending() -> None:
    runs: list[WatchedRun] = []
    with pytest.raises(ZeroDivisionError), unvanish.watch(model := deep_sigmoid()) as run:  # noqa: PT012
        runs.append(run)
        train(model, 3)
        _ = 1 / 0
    assert runs[0].run.facts.ending == "ZeroDivisionError"
    assert runs[0].run.step_count == 3


def test_a_loop_that_never_runs_has_no_findings() -> None:
    with unvanish.watch(deep_sigmoid()) as run:
        assert run.findings == []
    assert run.findings == []
    assert run.run.step_count == 0


def test_two_watches_inside_each_other_see_each_its_own_network() -> None:
    torch.manual_seed(0)
    deep, shallow = deep_sigmoid(), nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))
    with unvanish.watch(deep) as outer, unvanish.watch(shallow) as inner:
        train(deep)
        train(shallow, 20)
    assert (outer.run.step_count, inner.run.step_count) == (30, 20)
    assert [network.class_name for network in outer.run.structure.networks] == ["Sequential"]
    assert {site.op for site in outer.run.structure.sites} == {"linear", "sigmoid"}
    assert {site.op for site in inner.run.structure.sites} == {"linear", "relu"}


def test_several_networks_are_watched_together() -> None:
    first, second = nn.Linear(12, 12), nn.Linear(12, 3)
    with unvanish.watch(first, second, every=1) as run:
        train(nn.Sequential(first, nn.Tanh(), second), 3)
    assert len(run.run.structure.parameters) == 4


def test_metrics_of_the_loop_are_kept_with_their_step() -> None:
    with unvanish.watch(model := deep_sigmoid(2)) as run:
        train(model, 4)
        unvanish.log(val_accuracy=0.75)
    assert [(m.name, m.value, m.step) for m in run.run.metrics] == [("val_accuracy", 0.75, 4)]


@pytest.mark.parametrize("wrong", [deep_sigmoid, "model", [nn.Linear(2, 2)], None], ids=["function", "name", "list", "none"])
def test_what_is_no_module_is_refused_with_its_type(wrong: Any) -> None:
    with pytest.raises(unvanish.UnvanishError, match=f"given {type(wrong).__name__}"), unvanish.watch(wrong):
        pass


def test_a_watch_without_a_network_sees_whatever_is_trained() -> None:
    with unvanish.watch() as run:
        train(deep_sigmoid(2), 3)
    assert run.run.step_count == 3
    assert {site.op for site in run.run.structure.sites} == {"linear", "sigmoid"}
