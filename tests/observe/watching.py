"""A training under observation, in memory: what the tests of this room have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from unvanish.observe import Observer, Settings, facts_of
from unvanish.record.journal import Journal
from unvanish.record.run import Run

ALL = Settings(every=1)


@dataclass(slots=True)
class Watched:
    """An observer at work; `run` is complete once it has been closed."""

    observer: Observer
    journal: Journal
    warnings: list[str] = field(default_factory=list)
    closed: Run | None = None

    @property
    def run(self) -> Run:
        return self.closed or self.journal.read()


@contextmanager
def watching(settings: Settings = ALL, *, networks: tuple[nn.Module, ...] = (), **options: Any) -> Iterator[Watched]:
    """Observes what happens inside; the run can be read afterwards. An exception inside goes through."""
    journal, warnings = Journal.create(None), list[str]()
    observer = Observer(journal, facts_of("test.py"), settings=settings, networks=networks, warn=warnings.append, **options)
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


def observed(train: Callable[[], Any], settings: Settings = ALL) -> Run:
    """The record of one training that must be observed without a fault."""
    with watching(settings) as watched:
        train()
    assert watched.warnings == [], watched.warnings
    assert watched.run.facts.faults == ()
    return watched.run


def labels(run: Run) -> list[str]:
    """The names of the sites, from the input to the output."""
    return [run.anatomy.site_label(i) for i in run.anatomy.in_order()]


def at_site(run: Run, quantity: str, label: str) -> np.ndarray:
    """One quantity of one site at every sampled step."""
    names = [run.anatomy.site_label(i) for i in range(len(run.anatomy.sites))]
    return run.readings[quantity][:, names.index(label)]


def at_parameter(run: Run, quantity: str, label: str) -> np.ndarray:
    """One quantity of one parameter at every sampled step."""
    names = [run.anatomy.parameter_label(i) for i in range(len(run.anatomy.parameters))]
    return run.readings[quantity][:, names.index(label)]
