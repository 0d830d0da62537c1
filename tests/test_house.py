"""The rules of ARCHITECTURE.md: imports point down, what reads records loads no torch, files stay small, errors form one tree."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import unvanish
from unvanish import errors

PROJECT = Path(__file__).resolve().parents[1]
SOURCE = PROJECT / "src" / "unvanish"
TORCH_FREE_PACKAGES = ("record", "theory", "diagnose", "report", "patch")
LONGEST_FILE = 400  # lines
LONGEST_FUNCTION = 40  # lines of a body, its docstring aside
MODULES = sorted(SOURCE.rglob("*.py"))


def python(code: str) -> subprocess.CompletedProcess[str]:
    """The end of `python -c code` in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def dotted(module: Path) -> str:
    """The name under which a file of the package is imported."""
    parts = module.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_imports_point_down_the_layers() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout


def test_what_reads_records_is_imported_without_torch() -> None:
    modules = [m for m in MODULES if m.relative_to(SOURCE).parts[0] in TORCH_FREE_PACKAGES or m.name == "errors.py"]
    names = ["unvanish", *map(dotted, modules)]
    assert len(names) > 40
    ended = python(f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nassert 'torch' not in sys.modules")
    assert ended.returncode == 0, ended.stderr


def test_help_is_printed_without_torch_and_numpy() -> None:
    code = (
        "import sys; from unvanish.cli.main import run_app; sys.argv = ['unvanish']\n"
        "codes = [run_app([*verb, '--help']) for verb in ([], ['run'], ['report'], ['demo'])] + [run_app([])]\n"
        "print(codes, sorted({'torch', 'numpy', 'plotly', 'sklearn', 'psutil'} & set(sys.modules)), file=sys.stderr)"
    )
    ended = python(code)
    assert ended.stderr.splitlines()[-1:] == ["[0, 0, 0, 0, 0] []"]
    assert "Usage: unvanish" in ended.stdout


def test_files_stay_small() -> None:
    long = {str(m.relative_to(SOURCE)): lines for m in MODULES if (lines := len(m.read_text().splitlines())) > LONGEST_FILE}
    assert long == {}


def test_functions_stay_small() -> None:
    long = {
        f"{module.relative_to(SOURCE)}:{node.name}": lines
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := body_lines(node)) > LONGEST_FUNCTION
    }
    assert long == {}


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(SOURCE)))
def test_a_module_opens_with_its_docstring_and_holds_no_mutable_state(module: Path) -> None:
    tree = ast.parse(module.read_text())
    assert ast.get_docstring(tree)
    containers = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, containers):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            assert all(name == "__all__" or name == name.upper() for name in names), names


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(SOURCE)))
def test_a_module_asks_no_object_what_it_has(module: Path) -> None:
    names = {node.id for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Name)}
    assert "hasattr" not in names


def exception_classes() -> list[type[Exception]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


def drawn_tree() -> dict[str, str]:
    """Exception to parent, read off the drawing in the docstring of `errors`: four columns to a level."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if (found := re.match(r"    ([│├└─ ]*)([A-Z]\w+)\b", line)) is not None:
            level = len(found[1]) // 4
            path = [*path[:level], found[2]]
            parents[found[2]] = path[level - 1] if level else "Exception"
    return parents


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    assert drawn_tree() == {kind.__name__: kind.__base__.__name__ for kind in exception_classes() if kind.__base__ is not None}


@pytest.mark.parametrize("kind", exception_classes(), ids=lambda kind: kind.__name__)
def test_every_error_is_an_unvanish_error_and_says_when_it_is_raised(kind: type[Exception]) -> None:
    assert issubclass(kind, unvanish.UnvanishError)
    assert kind.__doc__


@pytest.mark.parametrize("package", ["unvanish", "unvanish.observe", "unvanish.patch", "unvanish.testing", "unvanish.trials"])
def test_every_name_that_a_package_imports_when_asked_resolves(package: str) -> None:
    module = importlib.import_module(package)
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []
