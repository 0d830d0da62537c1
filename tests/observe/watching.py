"""Runs a training under observation with a journal in memory, and reads single quantities of its record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from unvanish.observe import Observer, Settings, collect_facts
from unvanish.record.run import Run
from unvanish.record.storage.journal import Journal

EVERY_STEP = Settings(every=1)


@dataclass(slots=True)
class Watched:
    """An observer and its journal; `run` is complete once the observer has been closed."""

    observer: Observer
    journal: Journal
    warnings: list[str] = field(default_factory=list)
    closed: Run | None = None

    @property
    def run(self) -> Run:
        return self.closed or self.journal.read()


@contextmanager
def watching(settings: Settings = EVERY_STEP, *, networks: tuple[nn.Module, ...] = (), **options: Any) -> Iterator[Watched]:
    """A context that is observed; the run can be read afterwards. An exception inside is passed on."""
    journal, warnings = Journal.create(None), list[str]()
    observer = Observer(journal, collect_facts("test.py"), settings=settings, networks=networks, warn=warnings.append, **options)
    watched = Watched(observer, journal, warnings)
    observer.attach()
    ending = "finished"
    try:
        yield watched
    except BaseException as fault:
        ending = type(fault).__name__
        raise
    finally:
        observer.close(ending)
        watched.closed = journal.read()
        journal.close()


def observe_training(train: Callable[[], Any], settings: Settings = EVERY_STEP) -> Run:
    """The record of one training, in which observing must not fail."""
    with watching(settings) as watched:
        train()
    assert watched.warnings == [], watched.warnings
    assert watched.run.facts.faults == ()
    return watched.run


def site_labels(run: Run) -> list[str]:
    """The names of the sites, from the input to the output."""
    return [run.structure.site_label(i) for i in run.structure.in_order()]


def site_values(run: Run, quantity: str, label: str) -> np.ndarray:
    """One quantity of one site at every sampled step."""
    names = [run.structure.site_label(i) for i in range(len(run.structure.sites))]
    return run.readings[quantity][:, names.index(label)]


def parameter_values(run: Run, quantity: str, label: str) -> np.ndarray:
    """One quantity of one parameter at every sampled step."""
    names = [run.structure.parameter_label(i) for i in range(len(run.structure.parameters))]
    return run.readings[quantity][:, names.index(label)]
