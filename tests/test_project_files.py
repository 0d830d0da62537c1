"""Whose a source file is: that of the project that runs, and never one of a library, wherever that lies or is linked to."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import threading
import zipfile
from pathlib import Path

import pytest

from unvanish.project_files import ProjectFiles, current_project, find_project, running_project


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a project in it, and much that people have inside of one and beside it."""
    files = {
        "project/pyproject.toml": '[project]\nname = "mine"\n',
        "project/train.py": "",
        "project/scripts/train.py": "",
        "project/src/mine/__init__.py": "",
        "project/src/mine/net.py": "",
        "project/space/deep/net.py": "",  # a package without __init__.py
        "project/env/pyvenv.cfg": "",
        "project/env/src/other/net.py": "",
        "project/env/lib/python3.12/site-packages/skorch/net.py": "",
        "project/.cache/modules/net.py": "",
        "project/deps/peft/__init__.py": "",
        "project/deps/peft-1.0.dist-info/RECORD": "peft/__init__.py,,\npeft-1.0.dist-info/RECORD,,\n",
        "project/deps/mine_too.py": "",
        "project/external/repository/.git/HEAD": "",
        "project/external/repository/net.py": "",
        "project/transformers-main/setup.py": 'setup(\n    name="transformers",\n)\n',
        "project/transformers-main/src/transformers/__init__.py": "",
        "project/transformers-main/src/transformers/trainer.py": "",
        "project/transformers-main/examples/run.py": "",
        "trainerlib/pyproject.toml": '[project]\nname = "trainerlib"\n',
        "trainerlib/trainerlib/loop.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with zipfile.ZipFile(tmp_path / "project" / "nets.zip", "w") as archive:
        archive.writestr("nets/net.py", "")
    (tmp_path / "project" / "linked").symlink_to(tmp_path / "project" / "env" / "lib" / "python3.12" / "site-packages" / "skorch")
    (tmp_path / "project" / "own_link").symlink_to(tmp_path / "project" / "src")
    (tmp_path / "to_project").symlink_to(tmp_path / "project")
    return tmp_path


IN_PROJECT = {
    "project/train.py": True,
    "project/scripts/train.py": True,
    "project/src/mine/net.py": True,
    "project/own_link/mine/net.py": True,
    "project/space/deep/net.py": True,
    "project/deps/mine_too.py": True,
    "project/transformers-main/examples/run.py": True,
    "to_project/src/mine/net.py": True,
    "project/env/src/other/net.py": False,
    "project/env/lib/python3.12/site-packages/skorch/net.py": False,
    "project/linked/net.py": False,
    "project/.cache/modules/net.py": False,
    "project/deps/peft/__init__.py": False,
    "project/external/repository/net.py": False,
    "project/transformers-main/src/transformers/trainer.py": False,
    "project/nets.zip/nets/net.py": False,
    "trainerlib/trainerlib/loop.py": False,
}


@pytest.mark.parametrize("started_in", ["project", "project/scripts", "to_project", "elsewhere"])
def test_the_projects_files_are_those_around_the_script_that_no_one_else_has_put_there(work: Path, started_in: str) -> None:
    (work / "elsewhere").mkdir()
    cwd = work / started_in
    project = find_project(work / "to_project" / "scripts" / "train.py", None, cwd)
    assert {name: project.includes(str(work / name)) for name in IN_PROJECT} == IN_PROJECT


def test_a_script_inside_of_an_environment_or_a_repository_is_a_project_of_its_own(work: Path) -> None:
    for name in ("project/env/src/other/net.py", "project/external/repository/net.py", "project/.cache/modules/net.py"):
        assert find_project(work / name, None, work / "project").includes(str(work / name))


def test_the_folder_of_a_module_is_found_without_importing_it(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "project" / "src" / "mine" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(work / "project" / "src"))
    project = find_project(None, "mine.train", work)
    assert project.folders == (work, work / "project")
    assert find_project(None, "space.deep.net", work / "project").includes(str(work / "project" / "space" / "deep" / "net.py"))
    assert find_project(None, "json.tool", work).folders == (work,)
    assert find_project(None, "no_such_module_of_all", work).folders == (work,)


def test_an_installed_program_stands_for_the_source_that_its_package_is_installed_from(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = work / "packages" / "mine-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[console_scripts]\nmine-train = mine.net:main\n")
    (metadata / "direct_url.json").write_text(f'{{"url": "{(work / "project").as_uri()}", "dir_info": {{"editable": true}}}}')
    monkeypatch.syspath_prepend(str(metadata.parent))
    programs = Path(sysconfig.get_path("scripts"))
    assert find_project(programs / "mine-train", None, work).includes(str(work / "project" / "src" / "mine" / "net.py"))
    assert find_project(programs / "no-such-program", None, work / "trainerlib").folders == (work / "trainerlib",)


def test_the_root_of_the_file_system_is_no_project(work: Path) -> None:
    assert find_project(work / "trainerlib" / "trainerlib" / "loop.py", None, Path("/")).folders == (work / "trainerlib",)


def test_what_is_typed_is_the_users(work: Path) -> None:
    for project in (ProjectFiles(), ProjectFiles((work / "project",))):
        assert project.includes("<ipython-input-3-abc>")
        assert project.includes("/tmp/ipykernel_12/345.py")
        assert not project.includes("<string>")


def test_a_declared_project_is_known_in_every_thread_until_it_ends(work: Path) -> None:
    project, seen = ProjectFiles((work,)), list[ProjectFiles]()
    with running_project(project):
        thread = threading.Thread(target=lambda: seen.append(current_project()))
        thread.start()
        thread.join()
    assert seen == [project]
    assert current_project() == ProjectFiles()


def test_asking_imports_no_torch() -> None:
    script = (
        "import sys; from unvanish.project_files import ProjectFiles\n"
        "ProjectFiles().includes('a.py'); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False).returncode == 0
