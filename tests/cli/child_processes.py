"""Command lines run quickly: one process imports torch once and forks a child for each, with files for its two outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unvanish.record.run import Run
from unvanish.record.storage.journal import load

SERVER = """
import gc, json, os, sys, types
import torch
import unvanish
from unvanish.cli.main import main
from unvanish.report.page import run_page
from unvanish.report.terminal import run_report

# What every run needs is imported by watching once here; the children then share it.
torch.set_num_threads(1)
net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 2), torch.nn.Tanh())
optimizer = torch.optim.SGD(net.parameters(), 0.1)
with unvanish.watch(net) as run:
    for step in range(8):
        net(torch.ones(3, 2)).sum().backward()
        optimizer.step()
run_page.render_page(run.run, run.findings)
run_report.render(run.run, run.findings, script="")
gc.freeze()

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(order["folder"])
        os.environ.update(order["environment"])
        for number, name in enumerate([os.devnull, *order["outputs"]]):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
        if order["plain"]:
            sys.argv = order["arguments"]
            sys.path[0] = order["folder"]
            script = os.path.abspath(sys.argv[0])
            sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(open(script).read(), script, "exec"), sys.modules["__main__"].__dict__)
            sys.exit(0)
        sys.argv = ["unvanish", *order["arguments"]]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command line ended: its exit code, what it wrote, and the folder of its run."""

    code: int
    out: bytes
    err: str
    folder: Path

    @property
    def record(self) -> Run:
        """The run that it kept."""
        return load(self.folder / "run.sqlite")

    @property
    def lines(self) -> list[str]:
        """What it wrote to standard error, line by line."""
        return self.err.splitlines()


class Nursery:
    """Owner of the process that forks. `close` ends it."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", SERVER]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())

    def unvanish(self, folder: Path, *arguments: str, **variables: str) -> Ended:
        """`unvanish arguments`, run in `folder`."""
        return self._fork(folder, arguments, variables, plain=False)

    def run(self, folder: Path, *arguments: str, **variables: str) -> Ended:
        """`unvanish run --out run arguments`, run in `folder`."""
        return self._fork(folder, ("run", "--out", "run", *arguments), variables, plain=False)

    def python(self, folder: Path, *arguments: str) -> Ended:
        """`python arguments`: the script without us."""
        return self._fork(folder, arguments, {}, plain=True)

    def _fork(self, folder: Path, arguments: tuple[str, ...], variables: dict[str, str], *, plain: bool) -> Ended:
        outputs = [folder / f".{name}" for name in ("out", "err")]
        for output in outputs:
            output.unlink(missing_ok=True)
        order: dict[str, Any] = {"folder": str(folder), "arguments": arguments, "environment": variables, "plain": plain}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order | {"outputs": [str(output) for output in outputs]}) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        return Ended(code, outputs[0].read_bytes(), outputs[1].read_text(), folder / "run")

    def close(self) -> None:
        """Ends the process."""
        self._server.communicate(timeout=60)


def environment() -> dict[str, str]:
    """The environment of a person at a shell: nothing of the test runner's."""
    foreign = ("PYTHON", "PYTEST", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "TERM": "xterm-256color"}


def write(path: Path, text: str) -> None:
    """A script, its indentation taken back to the margin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip())
