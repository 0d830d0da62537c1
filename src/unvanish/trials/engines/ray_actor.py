"""Ray actor that hosts the process of one trial in a temporary folder on a node, and sends back the files that it left."""

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

from unvanish.trials.engines.process_guard import ProcessGuard
from unvanish.trials.machine_resources import usable_cores
from unvanish.trials.process import TrialProcess
from unvanish.trials.progress import TrialProgress
from unvanish.trials.trial import JOB_FILE, Trial

THREADS_VARIABLE, DEVICES_VARIABLE = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"
POLL_S = 0.1  # seldom enough that it takes no time from the trials of its node
PACKAGES = ("unvanish", "torch", "numpy")


@dataclass(frozen=True, slots=True)
class ScriptEnvironment:
    """Where the race was started: the working directory, the environment variables, the usable cores, and the number of threads
    that torch uses on them by default."""

    cwd: Path
    variables: Mapping[str, str]
    cores: int
    threads: int


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node of the cluster: its id, its name for people, the versions installed there, and the GPUs that a trial may use there,
    as in CUDA_VISIBLE_DEVICES."""

    node_id: str
    name: str
    versions: tuple[tuple[str, str], ...]
    devices: str


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What an actor reports of its trial.

    Arguments:
        progress: how far it is.
        exit_code: None until it ends.
        files: the content of its folder, by path, once it has paused or ended.
        failure: why it could not be started, "" where it could.
    """

    progress: TrialProgress
    exit_code: int | None = None
    files: Mapping[str, bytes] | None = None
    failure: str = ""


def installed_versions() -> tuple[tuple[str, str], ...]:
    """The versions on which the losses of a trial depend, without the build ("+cpu")."""
    versions = {name: next((package.version for package in distributions(name=name)), "none") for name in PACKAGES}
    without_build = tuple((name, version.partition("+")[0]) for name, version in versions.items())
    return (("python", ".".join(platform.python_version_tuple()[:2])), *without_build)


@final
class TrialActor:
    """Owner of one trial's process and folder on this node, until `end`."""

    def __init__(self, trial: Trial, environment: ScriptEnvironment, node: NodeInfo) -> None:
        """Starts nothing yet."""
        self._trial, self._environment, self._node = trial, environment, node
        self._folder: Path | None = None
        self._guard: ProcessGuard | None = None
        self._process: TrialProcess | None = None

    def advance(self, goal: int | None) -> TrialReport:
        """Starts or continues the trial. Raises TrialError or OSError where this node cannot keep its files."""
        if self._process is not None:
            self._process.resume(goal)
        elif missing := self._missing_file():
            return TrialReport(TrialProgress(), 1, {}, missing)
        else:
            self._start(goal)
        return self.poll(0.0)

    def poll(self, timeout_s: float) -> TrialReport:
        """How the trial is: at once where it pauses or ends, otherwise after `timeout_s` seconds."""
        process, until = self._process, time.monotonic() + timeout_s
        if process is None:
            return TrialReport(TrialProgress())
        while True:
            process.poll()
            if process.exit_code is not None and self._guard is not None:
                self._guard.dismiss()
            if process.exit_code is not None or process.is_paused:
                return TrialReport(process.progress, process.exit_code, _read_files(process.trial.folder))
            if time.monotonic() >= until:
                return TrialReport(process.progress)
            time.sleep(POLL_S)

    def end(self, grace_s: float) -> None:
        """Ends the trial, after `grace_s` seconds at the latest, and removes its folder from this node."""
        if self._process is not None:
            self._process.terminate()
            self._process.kill(grace_s)
        if self._guard is not None:
            self._guard.dismiss()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _missing_file(self) -> str:
        """Why the script cannot be run on this node; "" where it can."""
        cwd, script = self._environment.cwd, self._trial.script.path
        missing = cwd if not cwd.is_dir() else cwd / script if script is not None and not (cwd / script).is_file() else None
        if missing is None:
            return ""
        return (
            f"{missing} is not on the node {self._node.name}: every node must find script and data at the same path as this machine"
        )

    def _start(self, goal: int | None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="unvanish-trial-")).resolve()
        tempfile.tempdir = str(self._folder)  # of this actor's process: the mirror is removed together with the folder
        trial = replace(self._trial, folder=self._folder / "trial", cwd=self._environment.cwd)
        self._process = TrialProcess(trial, goal, environment=self._variables())
        self._guard = ProcessGuard(self._process.process_group, self._folder)

    def _variables(self) -> Mapping[str, str]:
        """The variables of the racing process, so that a script computes as it does there, on the GPUs that Ray assigned."""
        environment = self._environment
        # The number of threads can change the last bit of a sum. Where the default is the same here, nothing is set.
        threads = {THREADS_VARIABLE: str(environment.threads)} if usable_cores() != environment.cores else {}
        return {**threads, **environment.variables, DEVICES_VARIABLE: self._node.devices}


def _read_files(folder: Path) -> Mapping[str, bytes]:
    """The content of the trial's files, by their paths in its folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name != JOB_FILE]
    # SQLite makes the shared-memory file anew where the run is read.
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if not path.name.endswith("-shm")}
