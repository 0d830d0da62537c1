"""Watches a training loop in this program: `with unvanish.watch(model) as run`."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from unvanish.errors import UsageError
from unvanish.examination import examine_first_step, with_prediction
from unvanish.observe import Settings
from unvanish.standard_error import print_to_stderr

if TYPE_CHECKING:
    from torch import nn

    from unvanish.record.finding import Finding
    from unvanish.record.run import Run
    from unvanish.record.storage.journal import Journal


@final
class WatchedRun:
    """A loop under observation. `findings` and `report` can be asked for at any time, also after the `with` block."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def run(self) -> Run:
        """The record so far."""
        return with_prediction(self._journal.read())

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, the root first; empty where nothing is, or nothing was seen yet."""
        from unvanish.plugins.rules import diagnose

        return diagnose(self.run)

    def report(self, path: str | Path) -> Path:
        """Writes the page of the report to `path`, and returns the path."""
        from unvanish.report.page import run_page

        return run_page.write_page(Path(path), self.run, self.findings)


@contextmanager
def watch(*models: nn.Module, budget: float = 0.01, every: int | None = None) -> Generator[WatchedRun]:
    """The training loop inside, watched; it goes on bit for bit as it would without.

    Arguments:
        models: the networks to watch; by default every network that is trained in the block.
        budget: the share of wall time that watching may take.
        every: sample each n-th step instead, whatever it costs.

    Raises UsageError where a model is not a module. A fault of the observer itself is recorded, warned of once, and never raised
    into the loop.

    Example:
        >>> import torch, unvanish
        >>> _ = torch.manual_seed(0)
        >>> layers = [m for _ in range(9) for m in (torch.nn.Linear(16, 16), torch.nn.Sigmoid())]
        >>> model = torch.nn.Sequential(*layers, torch.nn.Linear(16, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> inputs, labels = torch.randn(64, 16), torch.randint(2, (64,))
        >>> with unvanish.watch(model) as run:
        ...     for _ in range(60):
        ...         loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         optimizer.step()
        >>> run.findings[0].code
        'vanishing-gradient'
    """
    from torch import nn

    from unvanish.observe import Observer, collect_facts
    from unvanish.record.storage.journal import Journal

    for model in tuple[Any, ...](models):
        if not isinstance(model, nn.Module):
            raise UsageError(f"watch needs torch.nn.Module objects, and was given {type(model).__name__}; pass the network itself")
    journal = Journal.create(None)
    observer = Observer(
        journal,
        collect_facts(Path(sys.argv[0]).name),
        settings=Settings(budget=budget, every=every),
        networks=models,
        warn=print_to_stderr,
        examine=examine_first_step,
    )
    observer.attach()
    ending = "finished"
    try:
        yield WatchedRun(journal)
    except BaseException as fault:
        ending = type(fault).__name__
        raise
    finally:
        observer.close(ending)
