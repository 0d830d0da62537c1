"""Engines, which run trials: processes on this machine, or actors on a Ray cluster."""

from __future__ import annotations

from unvanish.trials.engines.engine import Engine, EngineKind, EngineOptions


def built_in() -> tuple[EngineKind, ...]:
    """The engines that come with the package; each is imported when it is opened."""
    return (
        EngineKind("local", "processes on this machine, as many at a time as its cores have room for", _local),
        EngineKind("ray", "actors on a Ray cluster, each with a share of its CPUs and GPUs (pip install 'unvanish[ray]')", _ray),
    )


def _local(options: EngineOptions) -> Engine:
    from unvanish.trials.engines.local import LocalEngine

    return LocalEngine(examine=options.examine, jobs=options.jobs, on_event=options.on_event, deadline=options.deadline)


def _ray(options: EngineOptions) -> Engine:
    from unvanish.trials.engines.ray_connection import open_ray_engine

    return open_ray_engine(options)
