"""Watches real trainings: each sick one has its root as first finding, and no healthy one has a warning."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from healthy_programs import HEALTHY_PROGRAMS
from healthy_trainings import HEALTHY
from sick_trainings import SICK

from unvanish.workflows.watch import WatchedRun


@pytest.mark.parametrize("training", [*HEALTHY, *HEALTHY_PROGRAMS], ids=lambda training: training.__name__)
def test_a_healthy_training_is_left_alone(training: Callable[[], WatchedRun]) -> None:
    torch.manual_seed(1)
    run = training()
    assert run.run.facts.faults == ()
    assert [(f.code, f.why) for f in run.findings if f.severity.loud] == []


@pytest.mark.parametrize(("training", "code", "causes"), SICK, ids=[training.__name__ for training, _, _ in SICK])
def test_the_root_of_a_sick_training_is_named_first(training: Callable[[], WatchedRun], code: str, causes: set[str | None]) -> None:
    torch.manual_seed(1)
    run = training()
    assert run.run.facts.faults == ()
    loud = [finding for finding in run.findings if finding.severity.loud]
    assert [finding.code for finding in loud] == [code]
    assert (loud[0].cause.code if loud[0].cause else None) in causes
