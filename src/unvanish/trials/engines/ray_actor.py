"""A trial on a node of a Ray cluster: an actor hosts its process in a temporary folder there, and sends back what that left.

It reads no result, and knows nothing of other trials.
"""

from __future__ import annotations

import platform
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import final

from unvanish.trials.engines.local import cores
from unvanish.trials.engines.process_guard import Guard
from unvanish.trials.process import TrialProcess
from unvanish.trials.progress import TrialProgress
from unvanish.trials.trial import JOB, Trial

THREADS, DEVICES = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"
LOOK_EVERY_S = 0.1  # seldom enough that it takes no time from the trials of its node
PACKAGES = ("unvanish", "torch", "numpy")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a script finds around it where the race was started: the folder, the variables, and the threads that torch takes by
    itself on that many cores."""

    cwd: Path
    variables: Mapping[str, str]
    cores: int
    threads: int


@dataclass(frozen=True, slots=True)
class Place:
    """A node as a trial meets it: its number in the cluster, its name for people, the versions there, the GPUs that it may use."""

    node: str
    name: str
    versions: tuple[tuple[str, str], ...]
    devices: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What was last heard of a trial: `files` is what its folder holds, once it has paused or ended, `exit_code` None till it ends,
    `trouble` why it could not begin."""

    at: TrialProgress
    exit_code: int | None = None
    files: Mapping[str, bytes] | None = None
    trouble: str = ""


def versions() -> tuple[tuple[str, str], ...]:
    """What decides, beside the machine, whether the same trial comes to the same losses; without the build ("+cpu")."""
    found = {name: next((each.version for each in distributions(name=name)), "none") for name in PACKAGES}
    installed = tuple((name, version.partition("+")[0]) for name, version in found.items())
    return (("python", ".".join(platform.python_version_tuple()[:2])), *installed)


@final
class TrialActor:
    """Owner of one trial's process and folder on this node; it tells what it hears when asked, and ends with `end`."""

    def __init__(self, trial: Trial, surroundings: Surroundings, place: Place) -> None:
        """Begins nothing yet."""
        self._trial, self._surroundings, self._place = trial, surroundings, place
        self._base: Path | None = None
        self._guard: Guard | None = None
        self._process: TrialProcess | None = None

    def advance(self, goal: int | None) -> Heard:
        """Has the trial begin or go on. Raises TrialError or OSError where this node cannot keep its files."""
        if self._process is not None:
            self._process.go_on(goal)
        elif missing := self._missing():
            return Heard(TrialProgress(), 1, {}, missing)
        else:
            self._begin(goal)
        return self.listen(0.0)

    def listen(self, within_s: float) -> Heard:
        """What became of the trial: at once where it pauses or ends, else after so many seconds."""
        process, until = self._process, time.monotonic() + within_s
        if process is None:
            return Heard(TrialProgress())
        while True:
            process.look()
            if process.exit_code is not None and self._guard is not None:
                self._guard.dismiss()
            if process.exit_code is not None or process.paused:
                return Heard(process.at, process.exit_code, _packed(process.trial.folder))
            if time.monotonic() >= until:
                return Heard(process.at)
            time.sleep(LOOK_EVERY_S)

    def end(self, within_s: float) -> None:
        """Ends the trial, at the latest after so many seconds, and removes its folder from this node."""
        if self._process is not None:
            self._process.ask_to_end()
            self._process.end(within_s)
        if self._guard is not None:
            self._guard.dismiss()
        if self._base is not None:
            shutil.rmtree(self._base, ignore_errors=True)

    def _missing(self) -> str:
        """Why the script cannot be run on this node; "" where it can."""
        cwd, script = self._surroundings.cwd, self._trial.script.path
        wanted = cwd if not cwd.is_dir() else cwd / script if script is not None and not (cwd / script).is_file() else None
        if wanted is None:
            return ""
        return (
            f"{wanted} is not on the node {self._place.name}: every node must find script and data at the same path as this machine"
        )

    def _begin(self, goal: int | None) -> None:
        self._base = Path(tempfile.mkdtemp(prefix="unvanish-trial-")).resolve()
        tempfile.tempdir = str(self._base)  # of this actor: what is made beside the trial's folder goes with it
        here = replace(self._trial, folder=self._base / "trial", cwd=self._surroundings.cwd)
        self._process = TrialProcess(here, goal, environment=self._environment())
        self._guard = Guard(self._process.group, self._base)

    def _environment(self) -> Mapping[str, str]:
        """The variables of the racing process, so that a script computes as it does there, on the GPUs that Ray gave."""
        there = self._surroundings
        own = {DEVICES: self._place.devices}
        # The number of threads can change the last bit of a sum. Where it comes out the same by itself, nothing is set.
        usual = {THREADS: str(there.threads)} if cores() != there.cores else {}
        return {**usual, **there.variables, **own}


def _packed(folder: Path) -> Mapping[str, bytes]:
    """The files of the trial by their paths in its folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name != JOB]
    # SQLite makes a file of shared memory anew where the run is read.
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if not path.name.endswith("-shm")}
