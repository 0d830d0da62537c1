"""The file of a script or module is found without importing anything, and what is not there is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from unvanish.errors import ScriptError
from unvanish.trials.script.script_files import Script, find_script_file


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("train.py", "package/__init__.py", "package/train.py", "package/__main__.py", "space/deep/train.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('imported')")
    return tmp_path


@pytest.mark.parametrize(
    ("script", "file"),
    [
        (Script(Path("train.py")), "train.py"),
        (Script(module="train"), "train.py"),
        (Script(module="package.train"), "package/train.py"),
        (Script(module="package"), "package/__main__.py"),
        (Script(module="space.deep.train"), "space/deep/train.py"),
    ],
)
def test_the_file_that_is_run_is_found(script: Script, file: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert find_script_file(script, project) == project / file


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (Script(Path("nothere.py")), r"nothere\.py: no such file here .*; check the name"),
        (Script(Path("package")), "package is a folder"),
        (Script(module="nothere.train"), r"there is no module nothere here .*; go to the folder that holds nothere"),
        (Script(module="package.nothere"), r"no module package\.nothere"),
        (Script(module="train.nothere"), r"no module train\.nothere"),
        (Script(module="space"), r"no module space\.__main__"),
        (Script(module=".train"), "named from its top-level package on"),
        (Script(Path("train.py"), module="train"), "not both"),
    ],
)
def test_what_is_not_there_is_said(script: Script, words: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(ScriptError, match=words):
        find_script_file(script, project)


def test_a_module_of_pythons_own_has_its_file_or_none(tmp_path: Path) -> None:
    file = find_script_file(Script(module="json.tool"), tmp_path)
    assert file is not None
    assert file.name == "tool.py"
    assert find_script_file(Script(module="sys"), tmp_path) is None
