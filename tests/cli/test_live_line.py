"""In a terminal one line at the foot tells how the run goes. It leaves with the run, and the script's own lines are whole."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from child_processes import environment, write
from scripts import STEP, loop

ROWS, COLUMNS = 20, 78
SLOW = loop(30, STEP + "import time; time.sleep(0.03)\nprint('the script says', step)", end="print('the end')")
DEADLINE_S = 60


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All that a terminal of 20 rows receives while a script runs under us."""
    folder = tmp_path_factory.mktemp("terminal")
    write(folder / "train.py", SLOW)
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    command = [str(Path(sys.executable).with_name("unvanish")), "run", "train.py"]
    process = subprocess.Popen(command, cwd=folder, stdin=follower, stdout=follower, stderr=follower, env=environment())
    os.close(follower)
    received, began = b"", time.monotonic()
    while time.monotonic() - began < DEADLINE_S:
        ready, _, _ = select.select([leader], [], [], 1.0)
        if ready:
            try:
                received += os.read(leader, 65536)
            except OSError:  # the other end is closed: the run is over
                break
    os.close(leader)
    assert process.wait(timeout=10) == 0
    return received.decode()


def test_the_foot_line_is_drawn_on_the_last_row_and_tells_the_step(shown: str) -> None:
    drawn = re.findall(rf"\x1b\[{ROWS};1H\x1b\[2K(.*?)\x1b8", shown, re.S)
    status_lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in drawn if line]
    assert status_lines
    assert all(re.match(r"unvanish  step \d+  loss [\d.]+  ", line) and len(line) < COLUMNS for line in status_lines)


def test_the_scroll_region_is_set_apart_and_given_back(shown: str) -> None:
    assert shown.count(f"\x1b[1;{ROWS - 1}r") == 1
    assert shown.count("\x1b[r") == 1
    assert shown.index("\x1b[r") > shown.rindex("the end")
    assert shown.count("\x1b7") == shown.count("\x1b8")


def test_the_scripts_own_lines_are_whole(shown: str) -> None:
    for step in range(30):
        assert f"the script says {step}\r\n" in shown
    assert "the end\r\n" in shown


def test_the_verdict_comes_after_the_line_is_gone(shown: str) -> None:
    after = re.sub(r"\x1b\[[0-9;]*m", "", shown[shown.index("\x1b[r") :])
    assert "report.html" in after
    assert f"[{ROWS};1H" not in after.partition("\x1b8")[2]
