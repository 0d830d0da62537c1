"""The cores and the memory of this machine, as trials count them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from unvanish.trials.machine_resources import available_memory_bytes, usable_cores
from unvanish.trials.peak_memory import peak_memory_bytes

needs_affinity = pytest.mark.skipif(sys.platform != "linux", reason="the system has no CPU affinity, or os cannot set it")


@needs_affinity
def test_only_the_cores_of_the_affinity_are_usable() -> None:
    code = (
        "import os; from unvanish.trials.machine_resources import usable_cores\n"
        "os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]); print(usable_cores())"
    )
    assert usable_cores() == len(os.sched_getaffinity(0))
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_without_a_cpu_affinity_every_core_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    for system in ("LINUX", "WINDOWS", "FREEBSD"):
        monkeypatch.setattr(psutil, system, False)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 12)
    assert usable_cores() == 12


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="the system has no /proc/meminfo")
def test_the_available_memory_is_what_the_kernel_says() -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    expected = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    assert available_memory_bytes() == pytest.approx(expected, rel=0.2)


def test_the_peak_of_the_memory_grows_with_an_allocation_and_stays() -> None:
    code = (
        "from unvanish.trials.peak_memory import peak_memory_bytes\n"
        "before = peak_memory_bytes(); block = bytearray(300_000_000); during = peak_memory_bytes(); del block\n"
        "print(before, during, peak_memory_bytes())"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    before, during, after = map(int, output.split())
    assert after >= during >= 300_000_000
    assert during >= before
    assert peak_memory_bytes() >= psutil.Process().memory_info().rss * 0.9
