"""The callback runs once, after the import; the module is what it would have been without it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unvanish.import_hooks import when_imported


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules on the path; the finders and modules of the test are removed afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    finders, modules = list(sys.meta_path), set(sys.modules)
    yield tmp_path
    assert sys.meta_path == finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_the_callback_runs_once_and_after_the_module_is_complete(folder: Path) -> None:
    (folder / "late_module.py").write_text("value = 1\nother = 2\n")
    calls: list[int] = []
    when_imported("late_module", lambda: calls.append(sys.modules["late_module"].other))
    assert calls == []
    importlib.import_module("late_module")
    importlib.reload(sys.modules["late_module"])
    assert calls == [2]


def test_for_a_module_that_is_imported_already_the_callback_runs_at_once(folder: Path) -> None:
    calls: list[str] = []
    when_imported("sys", lambda: calls.append("sys"))
    assert calls == ["sys"]


def test_the_module_keeps_its_own_loader_and_spec(folder: Path) -> None:
    for name in ("plain_module", "awaited_module"):
        (folder / f"{name}.py").write_text("")
    when_imported("awaited_module", lambda: None)
    plain, awaited = importlib.import_module("plain_module"), importlib.import_module("awaited_module")
    assert type(awaited.__loader__) is type(plain.__loader__)
    assert type(awaited.__spec__.loader) is type(plain.__spec__.loader)
    assert awaited.__file__ == str(folder / "awaited_module.py")


def test_a_failed_import_raises_its_error_and_the_wait_goes_on(folder: Path) -> None:
    module = folder / "weak_module.py"
    module.write_text("raise ValueError('weak')\n")
    calls: list[str] = []
    when_imported("weak_module", lambda: calls.append("arrived"))
    with pytest.raises(ValueError, match="weak"):
        importlib.import_module("weak_module")
    assert calls == []
    module.write_text("fine = True  # and longer than before\n")
    importlib.invalidate_caches()
    importlib.import_module("weak_module")
    assert calls == ["arrived"]


def test_finding_the_spec_of_a_module_is_no_import(folder: Path) -> None:
    (folder / "looked_at.py").write_text("")
    calls: list[str] = []
    cancel = when_imported("looked_at", lambda: calls.append("arrived"))
    assert importlib.util.find_spec("looked_at") is not None
    assert importlib.util.find_spec("looked_at_and_missing") is None
    assert calls == []
    cancel()


def test_a_cancelled_wait_is_over(folder: Path) -> None:
    (folder / "uncalled_module.py").write_text("")
    calls: list[str] = []
    cancel = when_imported("uncalled_module", lambda: calls.append("arrived"))
    cancel()
    cancel()
    importlib.import_module("uncalled_module")
    assert calls == []


def test_two_waits_for_one_module_both_call_back(folder: Path) -> None:
    (folder / "shared_module.py").write_text("")
    calls: list[str] = []
    when_imported("shared_module", lambda: calls.append("first"))
    when_imported("shared_module", lambda: calls.append("second"))
    importlib.import_module("shared_module")
    assert sorted(calls) == ["first", "second"]
