"""Runs a demo from its first training to its story, and notes where and when that was. It draws nothing and writes no file."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import torch

from unvanish.demos.demo import Courses, Demo, Progress, Training
from unvanish.demos.worker_pool import run_all
from unvanish.record.demo_result import Demonstration, Ending, Standing, Trained

JOBS = 2  # processes: what every demo is measured with


def run_demo(name: str, demo: Demo, *, quick: bool = False, jobs: int | None = None, progress: Progress) -> Demonstration:
    """The demo, run here and now, in at most `jobs` processes (by default two, where there are two cores).

    After Ctrl-C it tells what is known by then, and says that it was interrupted.
    """
    trainings = list(demo.trainings())
    started = datetime.now().astimezone()
    began = time.perf_counter()
    at_once = min(JOBS, cores()) if jobs is None else jobs
    courses = run_all(trainings, jobs=at_once, progress=progress)
    seconds = time.perf_counter() - began
    story = demo.tell(courses)
    return Demonstration(
        name=name,
        command=f"unvanish demo {name}" + (" --quick" if quick else ""),
        standing=_standing(trainings, courses, borne_out=story.borne_out),
        quick=quick,
        story=story,
        trainings=tuple(Trained(training.label, training.seed, course) for training, course in courses.items()),
        facts=_facts(trainings, story.data, started, jobs=at_once),
        seconds=seconds,
    )


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _standing(trainings: Sequence[Training], courses: Courses, *, borne_out: bool) -> Standing:
    if len(courses) < len(trainings) or any(course.ending is Ending.STOPPED for course in courses.values()):
        return Standing.INTERRUPTED
    return Standing.SHOWN if borne_out else Standing.NOT_SHOWN


def _facts(trainings: Sequence[Training], data: str, started: datetime, *, jobs: int) -> tuple[tuple[str, str], ...]:
    seeds = sorted({training.seed for training in trainings})
    several = f"{jobs} processes side by side, one thread each" if jobs > 1 else "one process, one thread"
    return (
        ("Data", data),
        ("Started", started.isoformat(sep=" ", timespec="seconds")),
        ("Machine", f"{platform.system()} {platform.machine()}, {cores()} cores, CPU only"),
        ("Run in", several),
        ("Trainings", str(len(trainings))),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Versions", ", ".join(f"{name} {number}" for name, number in _versions())),
    )


def _versions() -> tuple[tuple[str, str], ...]:
    """The versions at work. A checkout that was never installed has no version of its own to tell."""
    found = [("python", platform.python_version()), ("torch", str(torch.__version__))]
    for name in ("scikit-learn", "unvanish"):
        with suppress(PackageNotFoundError):
            found.append((name, version(name)))
    return tuple(found)
