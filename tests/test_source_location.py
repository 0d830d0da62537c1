"""Which line of the user's program led to a call: never one of torch's or of ours, except in the examples that ship with us."""

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


def asked_from(file: Path | str, ask: Callable[[FrameType], Any]) -> Any:
    """What is answered about a frame of that file, which was called from this one."""
    names: dict[str, Any] = {"probe": lambda: ask(sys._getframe(1))}
    exec(code(file), names)  # the calling line
    return names["frame"]


@pytest.mark.parametrize(
    ("file", "users"),
    [
        (HERE, True),
        ("/home/person/net.py", True),
        (f"{TORCH}_geometric/nn.py", True),
        (f"{PACKAGE}ed/net.py", True),
        (PACKAGE / "examples" / "sigmoid.py", True),
        (PACKAGE / "clinic.py", False),
        (PACKAGE / "observe" / "observer.py", False),
        (TORCH / "nn" / "modules" / "module.py", False),
        ("<string>", False),
        ("<frozen runpy>", False),
    ],
    ids=str,
)
def test_code_is_the_users_unless_it_is_torchs_or_ours_or_from_no_file(file: Path | str, users: bool) -> None:
    assert source_location.is_users(code(file)) is users


def test_the_innermost_line_of_the_users_is_the_place() -> None:
    assert asked_from("/home/person/net.py", source_location.place) == ("/home/person/net.py", 1)
    assert asked_from(TORCH / "nn" / "functional.py", source_location.place) == (HERE, LINE)


def test_the_users_frames_come_innermost_first() -> None:
    def files(frame: FrameType) -> list[str]:
        return [frame.f_code.co_filename for frame in islice(source_location.user_frames(frame), 2)]

    assert asked_from("/home/person/net.py", files) == ["/home/person/net.py", HERE]


def test_where_there_is_no_frame_there_is_no_place_and_no_location() -> None:
    assert source_location.place(None) is None
    assert source_location.location(None) is None


def test_a_location_has_the_text_of_its_line() -> None:
    frame = currentframe()
    assert frame is not None
    found = source_location.location(source_location.place(frame))
    assert found is not None
    assert found.file == HERE
    assert "source_location.location" in found.text


def test_a_line_that_cannot_be_read_has_no_text() -> None:
    found = source_location.location(("/nowhere/net.py", 3))
    assert found is not None
    assert (found.line, found.text) == (3, "")


def test_asking_imports_no_torch() -> None:
    ask = "import sys; from unvanish import source_location; source_location.place(sys._getframe()); assert 'torch' not in sys.modules"
    ended = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
