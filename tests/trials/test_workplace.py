"""A script in its mirror does what it does in the user's own folder, to the byte, and the user's folder stays as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from unvanish.trials import Script
from unvanish.trials.isolation.mirror import Mirror
from unvanish.trials.isolation.workplace import create_workplace, restore_user_paths, script_in_workplace, working_directory
from unvanish.trials.isolation.writes import Writes, read_writes

# Runs a script in a mirror as a worker does, without torch.
LAUNCH = """
import sys
from pathlib import Path
from unvanish.trials.script.execution import Script, execute
from unvanish.trials.isolation.workplace import script_in_workplace, load_workplace
from unvanish.trials.isolation.writes import track_writes
from unvanish.trials.isolation.write_barrier import forbid_other_writes, writable_folders
folder, path = map(Path, sys.argv[1:3])
mirror = load_workplace(folder)
cwd = mirror.to_original(Path.cwd())
writable = writable_folders((folder, mirror.root.parent), (cwd,))
forbid_other_writes(writable)
with track_writes(folder / "writes.jsonl", mirror, user_folders=(cwd,), writable=writable):
    ending = execute(script_in_workplace(mirror, Script(path), cwd), mirror=mirror)
sys.exit(ending.code)
"""
START = "import os, shutil, sqlite3, sys, threading\nfrom pathlib import Path\n"

# What a script does to its folder, and the files that are logged as written, by the user's paths.
ACTIONS = {
    "appends to a log": ("open('log.txt', 'a').write('more')", ["log.txt"]),
    "overwrites a result": ("open('out/result.txt', 'w').write('new')", ["out/result.txt"]),
    "writes deep in its folder": ("open('out/deep/new.txt', 'w').write('x')", ["out/deep/new.txt"]),
    "makes folders": (
        "os.makedirs('out/deep/a/b', exist_ok=True); Path('new/deep').mkdir(parents=True)",
        ["new", "new/deep", "out/deep/a", "out/deep/a/b"],
    ),
    "changes a file in place": ("f = open('log.txt', 'r+'); f.seek(1); f.write('X'); f.close()", ["log.txt"]),
    "goes up behind a folder": ("open('out/deep/../up.txt', 'w').write('x')", ["out/up.txt"]),
    "reads and writes beside its folder": (
        "print(open('../data/x.txt').read()); open('../data/cache.txt', 'w').write('x')",
        ["../data/cache.txt"],
    ),
    "writes beside its own file": (
        "h = Path(__file__).resolve().parent / 'out'; print((h / 'result.txt').read_text()); (h / 'n').touch()",
        ["out/n"],
    ),
    "has a module that writes beside itself": ("import tools.save\ntools.save.now()", ["tools/saved.txt"]),
    "goes into a folder and writes": ("os.chdir('out/deep'); open('n.txt', 'w').write('x')", ["out/deep/n.txt"]),
    "replaces a file as a whole": (
        "Path('t').write_text('x'); os.replace('t', 'out/result.txt')",
        ["out/result.txt", "t"],
    ),
    "moves a folder and writes there": (
        "shutil.move('out', 'old'); open('old/result.txt', 'w').write('x')",
        ["old", "old/result.txt", "out"],
    ),
    "deletes": (
        "os.remove('log.txt'); Path('out/result.txt').unlink(); shutil.rmtree('tools')",
        ["log.txt", "out/result.txt", "tools", "tools/__init__.py", "tools/fails.py", "tools/save.py"],
    ),
    "links": (
        "os.link('log.txt', 'hard'); open('hard', 'a').write('x'); os.remove('latest'); os.symlink('out', 'latest')",
        ["hard", "latest", "log.txt"],
    ),
    "writes through a link of the user's": ("open('latest/n.txt', 'w').write('x')", ["out/deep/n.txt"]),
    "has a database": (
        "c = sqlite3.connect('runs.db'); c.execute('insert into t values (1)'); c.commit()\n"
        "print(c.execute('select count(*) from t').fetchall()); c.close()",
        ["runs.db"],
    ),
    "touches and protects": ("os.utime('log.txt', (1, 1)); os.chmod('out/result.txt', 0o600)", ["log.txt", "out/result.txt"]),
    "refuses what is there": ("try: open('log.txt', 'x')\nexcept FileExistsError: print('there')", ["log.txt"]),
    "walks": (
        "print(sorted((d, *f) for d, _, f in os.walk('.')), sorted(map(str, Path('.').rglob('*.txt'))))\n"
        "print(sorted(p.name for p in Path('..').glob('*/*')))",
        [],
    ),
    "copies": (
        "shutil.copytree('out', 'copy'); shutil.copy('log.txt', 'out/log.txt')",
        ["copy", "copy/deep", "copy/deep/d.txt", "copy/result.txt", "out/log.txt"],
    ),
    "writes in a thread and in a fork": (
        "t = threading.Thread(target=lambda: open('out/t', 'w').write('x')); t.start(); t.join()\n"
        "if os.fork() == 0:\n    open('out/deep/d.txt', 'a').write('x')\n    os._exit(0)\nos.wait()",
        ["out/deep/d.txt", "out/t"],
    ),
    "empties its own folder": (
        "for p in Path('.').iterdir(): shutil.rmtree(p) if p.is_dir() and not p.is_symlink() else p.unlink()",
        ["latest", "log.txt", "out", "runs.db", "tools", "train.py"],
    ),
    "deletes its own folder": ("shutil.rmtree(Path.cwd())", ["", "latest", "log.txt", "out", "runs.db", "tools", "train.py"]),
    "deletes by a shell": ("os.system('rm -rf *')", []),
    "fails": ("import tools.fails", []),
}


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders as a user may have them: data beside the working folder, results, a package, a database, a link. The trial's folder
    and the one for mirrors are elsewhere."""
    home = tmp_path / "home"
    (tmp_path / "trial").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for folder in ("data", "work/out/deep", "work/tools"):
        (home / folder).mkdir(parents=True)
    (home / "data" / "x.txt").write_text("data")
    (home / "work" / "log.txt").write_text("log")
    (home / "work" / "out" / "result.txt").write_text("old")
    (home / "work" / "out" / "deep" / "d.txt").write_text("d")
    (home / "work" / "latest").symlink_to("out/deep")
    (home / "work" / "tools" / "__init__.py").write_text("")
    save = "from pathlib import Path\ndef now(): (Path(__file__).resolve().parent / 'saved.txt').write_text('x')\n"
    (home / "work" / "tools" / "save.py").write_text(save)
    (home / "work" / "tools" / "fails.py").write_text("# why\n1 / 0\n")
    command = [sys.executable, "-c", "import sqlite3; sqlite3.connect('runs.db').execute('create table t (x)')"]
    subprocess.run(command, cwd=home / "work", check=True)
    return home


def file_states(home: Path) -> dict[str, object]:
    """All that is in a folder: contents, modes, times and links, without bytecode."""
    states: dict[str, object] = {}
    for path in sorted(p for p in home.rglob("*") if "__pycache__" not in p.parts):
        name, status = str(path.relative_to(home)), path.lstat()
        if path.is_symlink():
            states[name] = str(path.readlink())
        else:
            states[name] = path.is_dir() or (path.read_bytes(), status.st_mode, status.st_mtime_ns)
    return states


def texts_through_links(home: Path) -> dict[str, str | None]:
    """What a script finds in a folder, through all links: the text of each file."""
    texts: dict[str, str | None] = {}
    for folder, folders, files in os.walk(home, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in (*folders, *files):
            path = Path(folder, name)
            text = path.read_text(errors="replace") if path.is_file() else None
            texts[str(path.relative_to(home))] = "database" if name == "runs.db" else text
    return texts


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, timeout=60)


@pytest.mark.parametrize("name", ACTIONS)
def test_in_its_mirror_a_script_does_the_same_and_the_users_files_stay(name: str, user: Path, tmp_path: Path) -> None:
    text, expected = ACTIONS[name]
    (user / "work" / "train.py").write_text(START + textwrap.dedent(text))
    twin, before, script = tmp_path / "twin", file_states(user), Script(Path("train.py"))
    shutil.copytree(user, twin, symlinks=True)
    alone = run([sys.executable, "train.py"], twin / "work")
    mirror = create_workplace(tmp_path / "trial", script, user / "work")
    assert mirror is not None
    there = run([sys.executable, "-c", LAUNCH, str(tmp_path / "trial"), "train.py"], working_directory(mirror, user / "work"))
    assert restore_user_paths(tmp_path / "trial", there.stderr) == alone.stderr.replace(str(twin), str(user))
    assert (there.returncode, there.stdout) == (alone.returncode, alone.stdout)
    assert file_states(user) == before
    assert texts_through_links(mirror.to_mirror(user)) == texts_through_links(twin)
    writes = read_writes(tmp_path / "trial" / "writes.jsonl")
    assert list(writes.own) == sorted(Path(os.path.normpath(user / "work" / path)) for path in expected)
    assert writes.shared == ()
    mirror.remove()
    assert not mirror.root.exists()
    assert file_states(user) == before


# What a script does by absolute paths of the user's, U: in the mirror it finds and leaves what it would in the user's folders.
ABSOLUTE_ACTIONS = {
    "writes and reads": "open(U / 'work/log.txt', 'a').write('x'); print(open('log.txt').read(), open(U / 'data/x.txt').read())",
    "writes in a folder of its own": """
        os.makedirs(U / 'runs/1', exist_ok=True); (U / 'runs/1/a').write_text('x'); os.makedirs(U / 'runs/1', exist_ok=True)
        print(os.listdir(U / 'runs/1'), (U / 'runs/1/a').exists(), glob.glob(f'{U}/runs/*/a')[0].removeprefix(str(U)))
        print((U / 'runs/1/a').stat().st_size, os.path.realpath(U / 'data/x.txt').removeprefix(str(U)))
        """,
    "removes": """
        os.remove(U / 'work/log.txt'); (U / 'data/x.txt').unlink(); shutil.rmtree(U / 'work/out')
        print([os.path.exists(U / name) for name in ('work/log.txt', 'data/x.txt', 'work/out', 'data')], os.listdir(U / 'data'))
        try: open(U / 'data/x.txt')
        except FileNotFoundError as fault: print('gone')
        """,
    "moves": """
        os.replace(U / 'data/x.txt', U / 'work/log.txt'); os.rename(U / 'work/out', U / 'old'); print(open('log.txt').read())
        """,
    "has databases": """
        for name, uri in ((str(U / 'work/runs.db'), False), (f'file:{U}/new.db?mode=rwc', True), (':memory:', False)):
            c = sqlite3.connect(name, uri=uri); c.execute('create table if not exists t (x)'); c.execute('insert into t values (1)')
            c.commit(); print(c.execute('select count(*) from t').fetchall()); c.close()
        os.remove(U / 'new.db')
        """,
    "looks at the root": "print(os.path.exists('/'), os.stat('/').st_ino, len(os.listdir('/')) > 3, Path('/').is_dir())",
    "goes there": "os.chdir(U / 'data'); open('n.txt', 'w').write('x'); print(os.listdir(), open('../work/log.txt').read())",
    "uses other functions": """
        (U / 'data' / 'touched').touch(); os.truncate(U / 'work/log.txt', 1); os.utime(U / 'data/x.txt', (1, 1))
        os.chmod(U / 'work/out/result.txt', 0o600); os.symlink('x.txt', U / 'data/link'); os.link(U / 'data/x.txt', U / 'hard')
        handle = os.open(os.fsencode(U / 'data/bytes'), os.O_CREAT | os.O_WRONLY); os.write(handle, b'x'); os.close(handle)
        logging.FileHandler(U / 'data/log').emit(logging.makeLogRecord({'msg': 'said'}))
        with zipfile.ZipFile(U / 'data/a.zip', 'w') as archive: archive.writestr('a', 'x')
        print(os.stat(U / 'data/x.txt').st_mtime, os.readlink(U / 'data/link'), zipfile.ZipFile(U / 'data/a.zip').namelist())
        shutil.copytree(U / 'work/out', U / 'copy'); shutil.copy(U / 'data/x.txt', U / 'copy'); os.remove(U / 'data/a.zip')
        with tempfile.NamedTemporaryFile('w', dir=U / 'data') as file: file.write('x')
        """,
    "writes in a thread and in a fork": """
        t = threading.Thread(target=lambda: open(U / 'data/t', 'w').write('x')); t.start(); t.join()
        if os.fork() == 0:
            open(U / 'work/out/result.txt', 'a').write('x'); os._exit(0)
        os.wait(); print(open(U / 'work/out/result.txt').read())
        """,
}
ABSOLUTE_START = START + "import glob, logging, tempfile, zipfile\nU = Path(os.environ['USER_FOLDER'])\n"


def run_in_mirror(user: Path, trial: Path, launch: str = LAUNCH) -> tuple[Mirror, subprocess.CompletedProcess[str]]:
    """The mirror of the user's script, and how the script ended in it."""
    mirror = create_workplace(trial, Script(Path("train.py")), user / "work")
    assert mirror is not None
    return mirror, run([sys.executable, "-c", launch, str(trial), "train.py"], working_directory(mirror, user / "work"))


@pytest.mark.parametrize("name", ABSOLUTE_ACTIONS)
def test_by_absolute_paths_a_script_does_the_same_and_the_users_files_stay(
    name: str, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user / "work" / "train.py").write_text(ABSOLUTE_START + textwrap.dedent(ABSOLUTE_ACTIONS[name]))
    twin, before = tmp_path / "twin", file_states(user)
    shutil.copytree(user, twin, symlinks=True)
    monkeypatch.setenv("USER_FOLDER", str(twin))
    alone = run([sys.executable, "train.py"], twin / "work")
    monkeypatch.setenv("USER_FOLDER", str(user))
    mirror, there = run_in_mirror(user, tmp_path / "trial")
    assert (there.stderr, there.returncode, there.stdout) == (alone.stderr, 0, alone.stdout)
    assert file_states(user) == before
    assert texts_through_links(mirror.to_mirror(user)) == texts_through_links(twin)
    assert read_writes(tmp_path / "trial" / "writes.jsonl").shared == ()


@pytest.mark.parametrize("name", ["writes and reads", "writes in a folder of its own", "has databases"])
def test_where_folders_have_too_many_entries_to_repeat_what_is_written_is_kept_apart_too(
    name: str, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, twin = Mirror.create, tmp_path / "twin"

    def create_and_limit(mirror: Mirror) -> None:
        create(mirror)
        monkeypatch.setattr(Mirror._link_entries, "__defaults__", (1,))

    monkeypatch.setattr(Mirror, "create", create_and_limit)
    relative = "\nprint(Path.cwd().exists(), open('out/new', 'w').write('x'), open('out/new').read())"
    (user / "work" / "train.py").write_text(ABSOLUTE_START + textwrap.dedent(ABSOLUTE_ACTIONS[name]) + relative)
    before = file_states(user)
    shutil.copytree(user, twin, symlinks=True)
    monkeypatch.setenv("USER_FOLDER", str(twin))
    alone = run([sys.executable, "train.py"], twin / "work")
    monkeypatch.setenv("USER_FOLDER", str(user))
    limit = "from unvanish.trials.isolation import mirror as m; m.Mirror._link_entries.__defaults__ = (1,)"
    _, there = run_in_mirror(user, tmp_path / "trial", limit + LAUNCH)
    assert (there.stderr, there.returncode, there.stdout) == (alone.stderr, 0, alone.stdout)
    assert file_states(user) == before
    assert read_writes(tmp_path / "trial" / "writes.jsonl").shared == ()


def test_what_is_written_past_python_fails_rather_than_changing_the_users_files(user: Path, tmp_path: Path) -> None:
    text = """
    import subprocess
    commands = ('echo x > log.txt', f'echo x > {U}/work/log.txt', f'touch {U}/new', f'rm {U}/data/x.txt')
    for line in (*commands, 'echo x > new.txt; cat new.txt'):
        print(subprocess.run(line, shell=True, stderr=subprocess.DEVNULL).returncode != 0, flush=True)
    code = "open('log.txt', 'a').write('x')"
    print(subprocess.run([sys.executable, '-c', code], stderr=subprocess.DEVNULL).returncode != 0)
    """
    if not forbids_writes():
        pytest.skip("this kernel has no Landlock")
    (user / "work" / "train.py").write_text(START + f"U = {str(user)!r}\n" + textwrap.dedent(text))
    before = file_states(user)
    mirror = create_workplace(tmp_path / "trial", Script(Path("train.py")), user / "work")
    assert mirror is not None
    ended = run([sys.executable, "-c", LAUNCH, str(tmp_path / "trial"), "train.py"], working_directory(mirror, user / "work"))
    assert file_states(user) == before
    assert ended.stdout.split() == ["True", "True", "True", "True", "x", "False", "True"]


def forbids_writes() -> bool:
    code = "from unvanish.trials.isolation.write_barrier import forbid_other_writes as f; raise SystemExit(not f(()))"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_writes_without_a_mirror_are_shared(user: Path, tmp_path: Path) -> None:
    launch = LAUNCH.replace("mirror = load_workplace(folder)", "mirror = None").replace(
        "mirror.to_original(Path.cwd())", "Path.cwd()"
    )
    launch = launch.replace("mirror.root.parent", "folder").replace("forbid_other_writes(writable)", "")
    text = f"""
    open({str(user / "work" / "log.txt")!r}, "a").write("x")
    open({str(user.parent / "elsewhere.txt")!r}, "w").write("x")
    open(os.devnull, "w").write("x")
    """
    (user / "work" / "train.py").write_text(START + textwrap.dedent(text))
    assert run([sys.executable, "-c", launch, str(tmp_path / "trial"), "train.py"], user / "work").returncode == 0
    # What lies in the temporary folder is of no interest, unless the user works there.
    writes = read_writes(tmp_path / "trial" / "writes.jsonl")
    assert writes.shared == (user / "work" / "log.txt",)
    assert str(user / "work" / "log.txt") in (writes.warning or "")
    assert Writes(own=writes.shared).warning is None
    assert "e and 2 more" in (Writes(shared=tuple(map(Path, "abcdefg"))).warning or "")


def test_a_saver_without_audit_events_is_tracked(user: Path, tmp_path: Path) -> None:
    library = tmp_path / "library" / "safetensors"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("safe_open = slice  # a class that has no subclasses, and keeps what it is given")
    save = "import os\ndef save_file(tensors, filename): os.system(f'echo new > {filename}')\n"
    (library / "numpy.py").write_text(save)
    text = f"""
    sys.path.insert(0, {str(library.parent)!r})
    from safetensors.numpy import save_file
    save_file(0, Path("out/result.txt"))
    save_file(0, filename="log.txt")
    from safetensors import safe_open
    Path({str(user / "data" / "new")!r}).write_text("apart")
    print(Path(safe_open({str(user / "data" / "new")!r}).stop).read_text())
    """
    (user / "work" / "train.py").write_text(START + textwrap.dedent(text))
    before = file_states(user)
    mirror, ended = run_in_mirror(user, tmp_path / "trial")
    assert file_states(user) == before
    assert (mirror.to_mirror(user) / "work" / "out" / "result.txt").read_text() == "new\n"
    assert ended.stdout == "apart\n"
    assert [path.name for path in read_writes(tmp_path / "trial" / "writes.jsonl").own] == ["new", "log.txt", "result.txt"]


def test_a_script_in_another_folder_keeps_a_relative_path_that_leads_there(user: Path, tmp_path: Path) -> None:
    (user / "data" / "train.py").write_text("")
    (user / "link.py").symlink_to("data/train.py")
    paths = {
        "data/train.py": "data/train.py",
        "data/../link.py": None,
        str(user / "link.py"): None,
        str(user / "data" / "train.py"): None,
    }
    for path, kept in paths.items():
        script = Script(Path(path), arguments=("--x",))
        mirror = create_workplace(tmp_path / "trial", script, user)
        assert mirror is not None
        inside = script_in_workplace(mirror, script, user)
        assert inside.path == (Path(kept) if kept else mirror.to_mirror(user / "data" / "train.py"))
        assert inside.arguments == ("--x",)
        assert not mirror.to_mirror(user / "data" / "train.py").is_symlink()
        mirror.remove()
    assert script_in_workplace(None, Script(Path("a.py")), user) == Script(Path("a.py"))


def test_removing_a_mirror_follows_no_link(user: Path, tmp_path: Path) -> None:
    before = file_states(user)
    mirror = create_workplace(tmp_path / "trial", Script(Path("train.py")), user / "work")
    assert mirror is not None
    (mirror.root / "away").symlink_to(user)
    (mirror.to_mirror(user) / "work" / "up").symlink_to("..")
    mirror.remove()
    assert not mirror.root.parent.exists()
    assert file_states(user) == before


def test_a_large_file_that_is_changed_in_place_is_shared_rather_than_copied(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unvanish.trials.isolation.mirror.MAX_COPY_BYTES", 2)
    mirror = create_workplace(tmp_path / "trial", Script(Path("train.py")), user / "work")
    assert mirror is not None
    with pytest.raises(Exception, match="3 bytes"):
        mirror.own_file(mirror.to_mirror(user / "work" / "log.txt"), keep=True)
    mirror.own_file(mirror.to_mirror(user / "work" / "log.txt"), keep=False)
    assert not mirror.to_mirror(user / "work" / "log.txt").exists()


def test_where_not_even_the_root_can_be_repeated_there_is_no_mirror_and_nothing_is_left(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mirror._link_entries, "__defaults__", (3,))
    assert create_workplace(tmp_path / "trial", Script(Path("train.py")), user / "work") is None
    assert not [*(tmp_path / "temporary").iterdir(), *(tmp_path / "trial").iterdir()]
