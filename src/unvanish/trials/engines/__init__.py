"""Where trials run: an engine takes trials and gives back a result for each as far as it was told to go. It decides nothing about
them."""

from __future__ import annotations

from unvanish.trials.engines.engine import Engine, EngineKind, EngineOptions


def built_in() -> tuple[EngineKind, ...]:
    """The engines that come with the package; each is imported when it is engaged."""
    return (
        EngineKind("local", "processes on this machine, as many at a time as its cores have room for", _local),
        EngineKind("ray", "actors on a Ray cluster, each with a share of its CPUs and GPUs (pip install 'unvanish[ray]')", _ray),
    )


def _local(terms: EngineOptions) -> Engine:
    from unvanish.trials.engines.local import LocalEngine

    return LocalEngine(examine=terms.examine, jobs=terms.jobs, progress=terms.progress, deadline=terms.deadline)


def _ray(terms: EngineOptions) -> Engine:
    from unvanish.trials.engines.ray import engage

    return engage(terms)
