"""Runs a demo from its first training to its summary, and records the command, the time, the machine and the versions."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import torch

from unvanish.demos.demo import Demo, ProgressCallback, Training, TrainingResults
from unvanish.demos.worker_pool import run_all
from unvanish.record.demo_result import DemoOutcome, DemoResult, TrainingEnding, TrainingRecord
from unvanish.trials.machine_resources import usable_cores

DEFAULT_JOBS = 2  # processes: what every demo is measured with


def run_demo(name: str, demo: Demo, *, quick: bool = False, jobs: int | None = None, progress: ProgressCallback) -> DemoResult:
    """The result of the demo, run in at most `jobs` processes (by default two, where there are two cores).

    After Ctrl-C the result has the outcome INTERRUPTED and the trainings until then. `quick` says that `demo` is a quick version.
    """
    trainings = list(demo.trainings())
    started_at = datetime.now().astimezone()
    start = time.perf_counter()
    processes = min(DEFAULT_JOBS, usable_cores()) if jobs is None else jobs
    results = run_all(trainings, jobs=processes, progress=progress)
    seconds = time.perf_counter() - start
    summary = demo.summarise(results)
    return DemoResult(
        name=name,
        command=f"unvanish demo {name}" + (" --quick" if quick else ""),
        outcome=_decide_outcome(trainings, results, claim_holds=summary.claim_holds),
        is_quick=quick,
        summary=summary,
        trainings=tuple(TrainingRecord(training.label, training.seed, result) for training, result in results.items()),
        facts=_list_facts(trainings, summary.data_description, started_at, processes=processes),
        seconds=seconds,
    )


def _decide_outcome(trainings: Sequence[Training], results: TrainingResults, *, claim_holds: bool) -> DemoOutcome:
    if len(results) < len(trainings) or any(result.ending is TrainingEnding.STOPPED for result in results.values()):
        return DemoOutcome.INTERRUPTED
    return DemoOutcome.SHOWN if claim_holds else DemoOutcome.NOT_SHOWN


def _list_facts(
    trainings: Sequence[Training], data_description: str, started_at: datetime, *, processes: int
) -> tuple[tuple[str, str], ...]:
    seeds = sorted({training.seed for training in trainings})
    mode = f"{processes} processes side by side, one thread each" if processes > 1 else "one process, one thread"
    return (
        ("Data", data_description),
        ("Started", started_at.isoformat(sep=" ", timespec="seconds")),
        ("Machine", f"{platform.system()} {platform.machine()}, {usable_cores()} cores, CPU only"),
        ("Run in", mode),
        ("Trainings", str(len(trainings))),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Versions", ", ".join(f"{package} {number}" for package, number in _list_versions())),
    )


def _list_versions() -> tuple[tuple[str, str], ...]:
    """Names and versions of Python and of the packages used; unvanish itself has none in a checkout that is not installed."""
    versions = [("python", platform.python_version()), ("torch", str(torch.__version__))]
    for name in ("scikit-learn", "unvanish"):
        with suppress(PackageNotFoundError):
            versions.append((name, version(name)))
    return tuple(versions)
