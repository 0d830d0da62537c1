"""Whatever fails around a training, a disk, a folder, a stream, is said in one line, and the training ends as it would alone."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from child_processes import Nursery, environment, write
from scripts import STEP, loop

from unvanish.cli.output import show, write_json
from unvanish.cli.run import new_folder
from unvanish.errors import UsageError

END = "print('own end'); sys.exit(7)"
FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))"
UNVANISH = str(Path(sys.executable).with_name("unvanish"))

# What the script does to the disk or to its folder at its fourth step, and words of each line that is said.
FAILURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "a full disk": (FULL_DISK, ("run/run.sqlite cannot be written (disk", "the report cannot be written to run/report.html")),
    "a folder that is removed": ("import shutil; shutil.rmtree('run')", ()),
    "a folder that is taken away for good": (
        "import shutil, pathlib; shutil.rmtree('run'); pathlib.Path('run').touch()",
        ("the report cannot be written to run/report.html",),
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_training_whose_files_fail_goes_on_to_its_own_end_and_is_reported(name: str, tmp_path: Path, nursery: Nursery) -> None:
    action, words = FAILURES[name]
    write(tmp_path / "train.py", loop(60, f"{STEP}if step == 3: {action}\n", end=END))
    ended = nursery.run(tmp_path, "--every", "1", "train.py")
    assert (ended.code, ended.out.endswith(b"own end\n")) == (7, True), ended.err
    lines = [line for line in ended.lines if line.startswith("unvanish: ")]
    assert len(lines) == len(words), ended.err
    for line, part in zip(lines, words, strict=True):
        assert part in line
    assert "60 steps" in ended.err
    if not words:
        assert ended.record.step_count == 60
        assert (tmp_path / "run" / "report.html").exists()


def test_a_json_file_that_fails_at_the_end_is_said_in_one_line(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", loop(5, end=f"import shutil; shutil.rmtree('results')\n{END}"))
    write(tmp_path / "results" / "out.json", "{}")
    ended = nursery.run(tmp_path, "--quiet", "--json", "results/out.json", "train.py")
    assert ended.code == 7
    (line,) = ended.lines
    assert "results/out.json cannot be written (No such file or directory); give --json another file" in line


def test_a_torch_that_is_too_old_is_named_and_the_script_runs_unwatched(tmp_path: Path) -> None:
    write(tmp_path / "torch.py", "__version__ = '2.5.1+cu124'")
    write(tmp_path / "train.py", f"import sys, torch\n{END}")
    ended = subprocess.run([UNVANISH, "run", "train.py"], cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert (ended.returncode, ended.stdout) == (7, "own end\n")
    (line,) = ended.stderr.splitlines()
    assert "train.py" in line
    assert "torch 2.5.1+cu124, and unvanish needs 2.6 or newer" in line
    assert not (tmp_path / "unvanish-runs").exists()


def test_of_two_runs_with_one_folder_one_alone_starts_and_runs_without_one_get_one_each(tmp_path: Path) -> None:
    write(tmp_path / "train.py", "import time; print('started', flush=True); time.sleep(2)")
    commands = [["--out", "run"], ["--out", "run"], [], []]
    running = [
        subprocess.Popen(
            [UNVANISH, "run", *options, "train.py"],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for options in commands
    ]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in running]
    assert sorted(code for *_, code in ended) == [0, 0, 0, 2]
    (refused,) = [(out, err) for out, err, code in ended[:2] if code]
    assert refused == ("", "unvanish: run holds another run already; choose another folder with --out\n")
    assert [out for out, _, code in ended if not code] == ["started\n"] * 3


def test_a_folder_in_which_nothing_can_be_written_gives_way_to_one_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    assert new_folder("train").parts[0] == "unvanish-runs"
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(os, "access", lambda *_: False)
    folder = new_folder("train")
    assert folder.is_relative_to(tmp_path / "temporary" / "unvanish-runs")
    assert capsys.readouterr().err == f"unvanish: nothing can be written to {tmp_path}; the run is kept in {folder}\n"


def test_without_a_standard_error_the_script_and_its_json_are_as_ever(tmp_path: Path) -> None:
    write(tmp_path / "train.py", "import sys\nprint('own', sys.stderr)\nsys.exit('message')")
    watched, alone = (
        subprocess.run(["sh", "-c", f"{command} 2>&-"], cwd=tmp_path, capture_output=True, env=environment())
        for command in (f"{UNVANISH} run train.py", f"{sys.executable} train.py")
    )
    assert (watched.returncode, watched.stdout) == (alone.returncode, alone.stdout) == (1, b"own None\n")


class Unwritable(io.StringIO):
    """A stream that fails as a broken pipe or a full disk does."""

    def __init__(self, fault: Exception) -> None:
        super().__init__()
        self.fault = fault

    def write(self, text: str) -> int:
        raise self.fault


STREAMS: dict[str, Callable[[], io.StringIO | None]] = {
    "none": lambda: None,
    "a pipe that nobody reads": lambda: Unwritable(BrokenPipeError(32, "Broken pipe")),
    "a full disk": lambda: Unwritable(OSError(28, "No space left on device")),
    "closed": lambda: Unwritable(ValueError("I/O operation on closed file")),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_report_for_a_stream_that_cannot_be_written_is_dropped_and_goes_nowhere_else(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", STREAMS[name]())
    show("", "a report")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdout", STREAMS[name]())
    with pytest.raises(UsageError, match="standard output cannot be written"):
        write_json("-", {})


def test_json_goes_whole_into_a_file_a_device_and_the_target_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "real.json").chmod(0o640)
    (tmp_path / "link.json").symlink_to("real.json")
    for target in ("link.json", "new.json"):
        write_json(str(tmp_path / target), {"a": 1})
        assert json.loads((tmp_path / target).read_text()) == {"a": 1}
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").stat().st_mode & 0o777 == 0o640
    write_json("/dev/null", {})
    assert Path("/dev/null").is_char_device()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        with pytest.raises(UsageError, match="File too large"):
            write_json(str(tmp_path / "real.json"), {"b": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert json.loads((tmp_path / "real.json").read_text()) == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 3
