"""A package of somebody else, installed for one test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from packages import Install


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package: a module, and the entry point of a group that leads to it."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def add(group: str, package: str, value: str, *sources: str) -> None:
        module = value.partition(":")[0]
        (tmp_path / f"{module}.py").write_text("\n".join(dedent(source) for source in sources))
        folder = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[{group}]\noffer = {value}\n")

    yield add
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
