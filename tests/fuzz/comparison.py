"""Runs programs with and without us in forked children, compares how they end, and drops parts of one that differs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from programs import Program, smaller

SCRIPT = "program.py"
LIMIT_S = 120.0  # of one program; a child that takes longer counts as one that hangs
SAMPLINGS: tuple[tuple[str, ...], ...] = (("--every", "1"), ())
_FRAME = re.compile(r'^[ |+]*File "(?P<file>[^"]*)"')
_CODE = re.compile(r"^ *(\| )?    ")  # a line below that of a frame; within a group behind a bar


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit code, negative for a signal, "hangs"; and what it wrote to its two streams."""

    status: int | str
    out: str
    err: str


class Zygote:
    """Owner of one forking process; `close` ends it."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("zygote.py")), kind]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())

    def run(self, folder: Path, arguments: Sequence[str]) -> Ended:
        """The end of a child that runs with these arguments in `folder`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        outputs = [folder.parent / "out", folder.parent / "err"]
        order = {"folder": str(folder), "arguments": arguments, "outputs": [*map(str, outputs)], "limit_s": LIMIT_S}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = json.loads(self._process.stdout.readline())
        return Ended(status, *(output.read_text(errors="backslashreplace") for output in outputs))

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate(timeout=60)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The two processes that programs are run by, the folder for them, and the options of `unvanish run` that each is run with."""

    plain: Zygote
    watched: Zygote
    folder: Path
    samplings: tuple[tuple[str, ...], ...]

    def difference(self, program: Program) -> str:
        """What differs of a program when it is watched; "" where nothing does, or where it ends otherwise each time."""
        source = program.render()
        alone = self._run(self.plain, source, [SCRIPT])
        for options in self.samplings:
            seen = self._run(self.watched, source, ["unvanish", "run", "--quiet", "--out", "../run", *options, SCRIPT])
            difference = describe_difference(alone, seen, self.folder / "work")
            if difference and not describe_difference(alone, self._run(self.plain, source, [SCRIPT]), self.folder / "work"):
                return f"unvanish run {' '.join(options)}: {difference}"
        return ""

    def minimised(self, program: Program) -> Program:
        """The smallest program that differs and is made of parts of this one, one part dropped at a time."""
        for candidate in smaller(program):
            if self.difference(candidate):
                return self.minimised(candidate)
        return program

    def _run(self, zygote: Zygote, source: str, arguments: list[str]) -> Ended:
        for name in ("work", "run"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "work").mkdir()
        (self.folder / "work" / SCRIPT).write_text(source)
        return zygote.run(self.folder / "work", arguments)


@contextmanager
def comparison(folder: Path, *, samplings: tuple[tuple[str, ...], ...] = SAMPLINGS) -> Iterator[Comparison]:
    """A comparison whose processes end with the context."""
    zygotes = Zygote("plain"), Zygote("watched")
    try:
        yield Comparison(*zygotes, folder, samplings)
    finally:
        for zygote in zygotes:
            zygote.close()


def describe_difference(alone: Ended, watched: Ended, folder: Path) -> str:
    """The first thing in which two ends differ, "" where they are the same."""
    if watched.status != alone.status:
        return f"exit {watched.status} instead of {alone.status}: {watched.err[-400:]}"
    if watched.out != alone.out:
        return f"standard output: {_first_difference(alone.out, watched.out)}"
    theirs, ours = own_lines(alone.err, folder), own_lines(watched.err, folder)
    if theirs != [line for line in ours if not line.startswith("unvanish: ")]:
        return f"standard error: {_first_difference(chr(10).join(theirs), chr(10).join(ours))}"
    lost = [line for line in ours if line.startswith("unvanish: ") and "stopped watching" in line]
    return lost[0] if lost else ""


def own_lines(err: str, folder: Path) -> list[str]:
    """Standard error without the frames of tracebacks that are not the program's: those of torch differ by its hooks."""
    kept: list[str] = []
    is_foreign = False
    for line in err.splitlines():
        if (frame := _FRAME.match(line)) is not None:
            is_foreign = not frame["file"].startswith(str(folder))
        elif is_foreign and _CODE.match(line):
            continue
        else:
            is_foreign = False
        if not is_foreign:
            kept.append(re.sub(r"0x[0-9a-f]{8,}|\(most recent call last\)|Thread-\d+", "", line))
    return kept


def environment() -> dict[str, str]:
    """The environment of both processes: hashes that are not random, one thread, nothing of a test runner's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    return kept | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "80"}


def _first_difference(expected: str, actual: str) -> str:
    pairs = zip([*expected.splitlines(), "(its end)"], [*actual.splitlines(), "(its end)"], strict=False)
    return next((f"{given!r} instead of {wanted!r}" for wanted, given in pairs if given != wanted), "(longer)")
