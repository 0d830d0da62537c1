"""Observes a live training and writes readings: hooks on sampled steps only, within a budget of the run's time.

`Observer` and `collect_facts` import torch when they are first accessed, since a script may set threads or devices before that.

Example:
    >>> import torch
    >>> from unvanish.observe import Observer, Settings, collect_facts
    >>> from unvanish.record.storage.journal import Journal
    >>> journal = Journal.create(None)
    >>> observer = Observer(journal, collect_facts("train.py"), settings=Settings(every=1))
    >>> observer.attach()
    >>> network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh())
    >>> optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    >>> network(torch.ones(3, 2)).sum().backward()
    >>> optimizer.step()
    >>> observer.close("finished").ending
    'finished'
    >>> journal.read().sampled.tolist()
    [1]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unvanish.observe.logged_metrics import log
from unvanish.observe.settings import Progress, Settings, StopTraining

if TYPE_CHECKING:
    from unvanish.observe.observer import Observer
    from unvanish.observe.run_facts import collect_facts

__all__ = ["Observer", "Progress", "Settings", "StopTraining", "collect_facts", "log"]


def __getattr__(name: str) -> Any:
    if name == "Observer":
        from unvanish.observe.observer import Observer

        return Observer
    if name == "collect_facts":
        from unvanish.observe.run_facts import collect_facts

        return collect_facts
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
