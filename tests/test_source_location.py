"""The line of the user's program that led to a call is none of a library or of this package, except in the packaged examples."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from inspect import currentframe
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
import torch

import unvanish
from unvanish import source_location

HERE = __file__
LINE = next(i for i, line in enumerate(Path(HERE).read_text().splitlines(), 1) if line.endswith("# the calling line"))
PACKAGE = Path(unvanish.__file__).parent
TORCH = Path(torch.__file__).parent


def code(file: Path | str) -> CodeType:
    """Code that says it comes from that file."""
    return compile("frame = probe()", str(file), "exec")


def call_with_frame_of(file: Path | str, function: Callable[[FrameType], Any]) -> Any:
    """The function's result for a frame of that file, which is called from this one."""
    names: dict[str, Any] = {"probe": lambda: function(sys._getframe(1))}
    exec(code(file), names)  # the calling line
    return names["frame"]


@pytest.mark.parametrize(
    ("file", "is_user_code"),
    [
        (HERE, True),
        ("/projects/net.py", True),
        (f"{TORCH}_geometric/nn.py", False),
        ("/projects/unvanished/net.py", True),
        (PACKAGE / "examples" / "sigmoid.py", True),
        (PACKAGE / "examination.py", False),
        (PACKAGE / "observe" / "observer.py", False),
        (TORCH / "nn" / "modules" / "module.py", False),
        ("<string>", False),
        ("<frozen runpy>", False),
    ],
    ids=str,
)
def test_code_is_user_code_unless_it_is_a_librarys_or_ours_or_from_no_file(file: Path | str, is_user_code: bool) -> None:
    assert source_location.is_user_code(code(file)) is is_user_code


def test_the_innermost_line_of_user_code_is_found() -> None:
    assert call_with_frame_of("/projects/net.py", source_location.find_user_line) == ("/projects/net.py", 1)
    assert call_with_frame_of(TORCH / "nn" / "functional.py", source_location.find_user_line) == (HERE, LINE)


def test_user_frames_come_innermost_first() -> None:
    def files(frame: FrameType) -> list[str]:
        return [frame.f_code.co_filename for frame in islice(source_location.user_frames(frame), 2)]

    assert call_with_frame_of("/projects/net.py", files) == ["/projects/net.py", HERE]


def test_without_a_frame_there_is_no_line_and_no_location() -> None:
    assert source_location.find_user_line(None) is None
    assert source_location.read_location(None) is None


def test_a_location_has_the_text_of_its_line() -> None:
    frame = currentframe()
    assert frame is not None
    location = source_location.read_location(source_location.find_user_line(frame))
    assert location is not None
    assert location.file == HERE
    assert "source_location.read_location" in location.text


def test_a_line_that_cannot_be_read_has_no_text() -> None:
    location = source_location.read_location(("/nowhere/net.py", 3))
    assert location is not None
    assert (location.line, location.text) == (3, "")


def test_finding_a_line_imports_no_torch() -> None:
    script = (
        "import sys; from unvanish import source_location\n"
        "source_location.find_user_line(sys._getframe()); assert 'torch' not in sys.modules"
    )
    completed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (completed.returncode, completed.stderr) == (0, "")
