"""A script that we run does what `python script.py` does: the same output to the byte, the same traceback, the same exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from unvanish.errors import ScriptError
from unvanish.trials import Script, execute

LAUNCH = """
import sys
from pathlib import Path
from unvanish.trials.script.execution import Script, execute
first, *rest = sys.argv[1:]
script = Script(module=rest[0], arguments=tuple(rest[1:])) if first == "-m" else Script(Path(first), arguments=tuple(rest))
ending = execute(script)
assert not {"torch", "numpy"} & set(sys.modules)
sys.exit(ending.code)
"""

SCRIPTS = {
    "its names": """
        print(__name__, __file__, __doc__, __package__, __spec__, __cached__, __annotations__, type(__loader__), __builtins__)
        """,
    "its arguments and path": """
        import sys
        print(sys.argv, sys.path[0])
        """,
    "its place among the modules": """
        import sys, __main__
        x = 3
        print(__main__.x, sys.modules["__main__"] is __main__, sorted(vars(__main__)))
        """,
    "a pickle of its own class": """
        import pickle
        class Point:
            x = 1
        print(pickle.loads(pickle.dumps(Point)) is Point, Point.__module__)
        """,
    "its own source by inspect, and a dataclass": """
        from __future__ import annotations
        import dataclasses, inspect, typing
        @dataclasses.dataclass
        class Point:
            x: int
        print(inspect.getsource(Point), typing.get_type_hints(Point), inspect.getfile(Point))
        """,
    "a fork worker": """
        import multiprocessing as m
        def square(x): return x * x
        if __name__ == "__main__":
            with m.get_context("fork").Pool(1) as pool:
                print(pool.map(square, [1, 2]))
        """,
    "a spawn worker": """
        import multiprocessing as m
        def square(x): return (x * x, __name__)
        if __name__ == "__main__":
            with m.get_context("spawn").Pool(1) as pool:
                print(pool.map(square, [1, 2]))
        """,
    "a fork by hand": """
        import os, sys
        print("before", flush=True)
        if os.fork() == 0:
            sys.exit(7)
        print("parent", os.waitstatus_to_exitcode(os.wait()[1]))
        """,
    "exit without a code": "import sys; sys.exit()",
    "exit with a number": "import sys; sys.exit(3)",
    "exit with a negative number": "import sys; sys.exit(-1)",
    "exit with a message": "import sys; print('out'); sys.exit('no data here')",
    "exit with an odd object": "import sys; sys.exit((1, 2))",
    "exit from a deep place": """
        def f(): raise SystemExit(5)
        try: f()
        finally: print("cleaned")
        """,
    "an exception": """
        def f(x): return 1 / x
        print("so far")
        f(0)
        """,
    "a chain of exceptions with notes": """
        def f():
            try:
                {}["a"]
            except KeyError as fault:
                fault.add_note("a note")
                raise ValueError("second") from fault
        try:
            f()
        except ValueError:
            raise RuntimeError("third")
        """,
    "a group of exceptions": "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
    "a syntax error": "a = 1\nif a\n    pass\n",
    "a syntax error in a module": """
        from pathlib import Path
        Path("broken.py").write_text("x = (\\n")
        import broken
        """,
    "an error while a module is imported": """
        from pathlib import Path
        Path("failing.py").write_text("def f(): raise ValueError('there')\\nf()\\n")
        import failing
        """,
    "a coding line": "# coding: latin-1\ns = 'é'\nprint(ascii(s))\n".encode("latin-1"),
    "an interrupt raised by hand in a handler": """
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            print("handled")
        """,
    "an exception hook": """
        import sys
        sys.excepthook = lambda kind, fault, tb: print("hook:", kind.__name__, fault, tb.tb_frame.f_code.co_name)
        raise ValueError("x")
        """,
    "an exception hook that exits": """
        import sys
        def hook(kind, fault, tb): sys.exit(9)
        sys.excepthook = hook
        raise ValueError("x")
        """,
    "an exception hook that fails": """
        import sys
        def hook(kind, fault, tb): raise TypeError("in the hook")
        sys.excepthook = hook
        raise ValueError("x")
        """,
    "what runs at exit, in order": """
        import atexit, threading, time
        atexit.register(print, "last")
        atexit.register(print, "first")
        def work():
            time.sleep(0.1)
            print("thread done")
        threading.Thread(target=work).start()
        print("main done")
        """,
    "executors that are never shut down": """
        import atexit, concurrent.futures, threading, time
        pool = concurrent.futures.ThreadPoolExecutor(2)
        def work(n):
            time.sleep(0.05)
            print("task", n)
        def late():
            time.sleep(1.0)
            try:
                pool.submit(work, 9)
            except RuntimeError as refusal:
                print(refusal)
        atexit.register(print, "at exit")
        threading.Thread(target=late).start()
        pool.submit(work, 1).result()
        pool.submit(work, 2)
        print("main done")
        """,
    "a warning with its line": """
        import warnings
        def old():
            warnings.warn("old", DeprecationWarning, stacklevel=2)
        warnings.warn("here")
        old()
        """,
    "output that is never flushed": "import sys; sys.stdout.write('a'); sys.stderr.write('b')",
    "closed output": "import sys; print('a'); sys.stdout.close()",
    "replaced output": """
        import io, sys
        sys.stdout = io.StringIO()
        print("unseen")
        """,
    "its own folder on the path": """
        from pathlib import Path
        Path("beside.py").write_text("value = 5")
        import beside
        print(beside.value)
        """,
    "a global of the launcher": "print('script' in globals(), 'Script' in globals())",
}


def python(folder: Path, *arguments: str, ours: bool) -> subprocess.CompletedProcess[bytes]:
    """The end of `python arguments`, or of the same run by us."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"PYTHONDONTWRITEBYTECODE": "1"}
    start = [sys.executable, "-c", LAUNCH] if ours else [sys.executable]
    return subprocess.run([*start, *arguments], cwd=folder, env=environment, capture_output=True, timeout=60)


def assert_same(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    theirs, ours = (python(folder, *arguments, ours=ours) for ours in (False, True))
    assert ours.stdout == theirs.stdout
    assert ours.stderr == b"".join(line for line in theirs.stderr.splitlines(keepends=True) if b"<frozen runpy>" not in line)
    assert ours.returncode == theirs.returncode
    return ours


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_script_does_what_it_does_in_python(text: str | bytes, tmp_path: Path) -> None:
    write(tmp_path / "script.py", text)
    assert_same(tmp_path, "script.py", "--lr", "0.1", "-m")


def test_a_script_in_another_folder_and_behind_a_link_finds_its_own_modules(tmp_path: Path) -> None:
    write(tmp_path / "code" / "beside.py", "value = 5")
    write(tmp_path / "code" / "train.py", "import sys, os, beside; print(__file__, sys.path[0], sys.argv, os.getcwd())")
    (tmp_path / "link.py").symlink_to("code/train.py")
    assert_same(tmp_path, "code/train.py")
    assert_same(tmp_path, "link.py")
    assert_same(tmp_path, str(tmp_path / "code" / "train.py"))
    assert_same(tmp_path / "code", "../code/train.py")


MODULE = "import sys; print(__name__, __file__, __package__, __spec__.name, __spec__.origin, sys.argv, sys.path[0])\n"


def test_a_package_runs_by_its_main_module_with_relative_imports(tmp_path: Path) -> None:
    write(tmp_path / "pkg" / "__init__.py", "print('package', __name__)")
    write(tmp_path / "pkg" / "nets.py", "size = 3")
    write(tmp_path / "pkg" / "__main__.py", MODULE + "from .nets import size; print(size)\n")
    write(tmp_path / "pkg" / "train.py", MODULE + "from . import nets\nraise ValueError(nets.size)\n")
    write(tmp_path / "single.py", MODULE)
    for name in ("pkg", "pkg.train", "pkg.__main__", "single"):
        assert_same(tmp_path, "-m", name, "--lr", "0.1")


def test_spawn_workers_of_a_module_find_it_again(tmp_path: Path) -> None:
    write(tmp_path / "pkg" / "__init__.py", "")
    write(tmp_path / "pkg" / "train.py", SCRIPTS["a spawn worker"])
    assert assert_same(tmp_path, "-m", "pkg.train").returncode == 0


def test_ctrl_c_shows_the_traceback_and_ends_with_130(tmp_path: Path) -> None:
    write(tmp_path / "script.py", "import os, signal\nprint('on')\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass\n")
    theirs, ours = (python(tmp_path, "script.py", ours=ours) for ours in (False, True))
    assert theirs.returncode == -signal.SIGINT
    assert (ours.returncode, ours.stdout, ours.stderr) == (130, theirs.stdout, theirs.stderr)


REFUSALS = [
    (Script(Path("nowhere.py")), r"nowhere\.py: no such file"),
    (Script(Path(__file__).parent), "is a folder"),
    (Script(), "not both"),
    (Script(Path("a.py"), "a"), "not both"),
]


@pytest.mark.parametrize(("script", "words"), REFUSALS)
def test_what_is_no_script_is_refused_before_anything_changes(script: Script, words: str) -> None:
    before = (sys.argv, sys.path[0], sys.modules["__main__"])
    with pytest.raises(ScriptError, match=words):
        execute(script)
    assert (sys.argv, sys.path[0], sys.modules["__main__"]) == before


@pytest.mark.parametrize("name", ["nowhere", "pkg.nowhere", "nowhere.at.all", "pkg", ".pkg", "math"])
def test_a_module_that_cannot_run_is_refused_with_its_name(name: str, tmp_path: Path) -> None:
    write(tmp_path / "pkg" / "__init__.py", "")
    ended = python(tmp_path, "-m", name, ours=True)
    last = ended.stderr.decode().splitlines()[-1]
    assert last.startswith(f"unvanish.errors.ScriptError: -m {name}")


IN_PROCESS = """
import sys
from pathlib import Path
from unvanish.trials import Script, execute
folder = Path.cwd()
"""


def run_code(folder: Path, code: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", IN_PROCESS + textwrap.dedent(code)], cwd=folder, capture_output=True, timeout=60)


def test_an_ending_says_how_the_script_ended(tmp_path: Path) -> None:
    texts = ("", "1 / 0", "import sys; sys.exit(4)", "raise KeyboardInterrupt", "class Stop(BaseException): pass\nraise EOFError")
    for number, text in enumerate(texts):
        write(tmp_path / f"s{number}.py", text)
    code = """
        for n in range(5):
            print(execute(Script(Path(f"s{n}.py")), stop_exceptions=(EOFError,)))
        """
    assert run_code(tmp_path, code).stdout.decode().splitlines() == [
        "ScriptExit(code=0, reason='finished', exception='')",
        "ScriptExit(code=1, reason='raised', exception='ZeroDivisionError')",
        "ScriptExit(code=4, reason='exited', exception='SystemExit')",
        "ScriptExit(code=130, reason='interrupted', exception='KeyboardInterrupt')",
        "ScriptExit(code=0, reason='stopped', exception='')",
    ]


def test_the_caller_is_called_when_all_is_set_and_nothing_has_run(tmp_path: Path) -> None:
    write(tmp_path / "script.py", "print('script')")
    code = "execute(Script(Path('script.py'), arguments=('a',)), before_run=lambda: print(sys.argv, sys.path[0] == str(folder)))"
    assert run_code(tmp_path, code).stdout == b"['script.py', 'a'] True\nscript\n"


EDITED = """
    edits = {folder / "train.py": "import inspect, net\\nprint('edited', net.name, inspect.getsource(net.fail))\\nnet.fail()\\n",
             folder / "net.py": "name = 'new'\\ndef fail():\\n    x = 1; raise ValueError(x)\\n"}
    execute(Script(Path("train.py")), edits=edits)
    """


def test_edits_replace_the_script_and_its_modules_in_memory_alone(tmp_path: Path) -> None:
    write(tmp_path / "train.py", "import net\nprint('original')\n")
    write(tmp_path / "net.py", "name = 'old'\ndef fail():\n    pass\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ended = run_code(tmp_path, EDITED)
    assert ended.stdout == b"edited new def fail():\n    x = 1; raise ValueError(x)\n\n"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_tracebacks_quote_the_lines_that_ran(tmp_path: Path) -> None:
    write(tmp_path / "train.py", "import net\n")
    write(tmp_path / "net.py", "")
    assert run_code(tmp_path, EDITED).stderr.decode().splitlines() == [
        "Traceback (most recent call last):",
        f'  File "{tmp_path}/train.py", line 3, in <module>',
        "    net.fail()",
        f'  File "{tmp_path}/net.py", line 3, in fail',
        "    x = 1; raise ValueError(x)",
        "           ^^^^^^^^^^^^^^^^^^^",
        "ValueError: 1",
    ]


def test_an_edit_keeps_the_encoding_that_the_file_declares(tmp_path: Path) -> None:
    write(tmp_path / "train.py", b"")
    code = "execute(Script(Path('train.py')), edits={Path('train.py'): '# coding: latin-1\\nprint(ascii(\"é\"))\\n'})"
    assert run_code(tmp_path, code).stdout == b"'\\xe9'\n"


def test_an_edited_package_is_edited_under_dash_m_too(tmp_path: Path) -> None:
    write(tmp_path / "pkg" / "__init__.py", "")
    write(tmp_path / "pkg" / "__main__.py", "print('original')")
    code = "execute(Script(module='pkg'), edits={folder / 'pkg' / '__main__.py': 'print(\"edited\", __spec__.name)'})"
    assert run_code(tmp_path, code).stdout == b"edited pkg.__main__\n"
