"""The callback comes once, after the import; the module is what it would have been."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unvanish.trials import when_imported


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules on the path; the finders and modules of the test are taken back."""
    monkeypatch.syspath_prepend(tmp_path)
    finders, modules = list(sys.meta_path), set(sys.modules)
    yield tmp_path
    assert sys.meta_path == finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_the_callback_comes_once_and_after_the_module_is_complete(folder: Path) -> None:
    (folder / "late_module.py").write_text("value = 1\nother = 2\n")
    seen: list[int] = []
    when_imported("late_module", lambda: seen.append(sys.modules["late_module"].other))
    assert seen == []
    importlib.import_module("late_module")
    importlib.reload(sys.modules["late_module"])
    assert seen == [2]


def test_a_module_that_is_there_already_counts_at_once(folder: Path) -> None:
    seen: list[str] = []
    when_imported("sys", lambda: seen.append("sys"))
    assert seen == ["sys"]


def test_the_module_keeps_its_own_loader_and_spec(folder: Path) -> None:
    for name in ("plain_module", "met_module"):
        (folder / f"{name}.py").write_text("")
    when_imported("met_module", lambda: None)
    plain, met = importlib.import_module("plain_module"), importlib.import_module("met_module")
    assert type(met.__loader__) is type(plain.__loader__)
    assert type(met.__spec__.loader) is type(plain.__spec__.loader)
    assert met.__file__ == str(folder / "met_module.py")


def test_a_failed_import_leaves_the_wait_and_the_error_as_they_are(folder: Path) -> None:
    module = folder / "weak_module.py"
    module.write_text("raise ValueError('weak')\n")
    seen: list[str] = []
    when_imported("weak_module", lambda: seen.append("arrived"))
    with pytest.raises(ValueError, match="weak"):
        importlib.import_module("weak_module")
    assert seen == []
    module.write_text("fine = True  # and longer than before\n")
    importlib.invalidate_caches()
    importlib.import_module("weak_module")
    assert seen == ["arrived"]


def test_looking_for_a_module_is_not_importing_it(folder: Path) -> None:
    (folder / "looked_at.py").write_text("")
    seen: list[str] = []
    cancel = when_imported("looked_at", lambda: seen.append("arrived"))
    assert importlib.util.find_spec("looked_at") is not None
    assert importlib.util.find_spec("looked_at_and_missing") is None
    assert seen == []
    cancel()


def test_a_cancelled_wait_is_over(folder: Path) -> None:
    (folder / "unmet_module.py").write_text("")
    seen: list[str] = []
    cancel = when_imported("unmet_module", lambda: seen.append("arrived"))
    cancel()
    cancel()
    importlib.import_module("unmet_module")
    assert seen == []


def test_two_waits_for_one_module_are_both_met(folder: Path) -> None:
    (folder / "shared_module.py").write_text("")
    seen: list[str] = []
    when_imported("shared_module", lambda: seen.append("first"))
    when_imported("shared_module", lambda: seen.append("second"))
    importlib.import_module("shared_module")
    assert sorted(seen) == ["first", "second"]
