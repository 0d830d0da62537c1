"""A user's factory: found by FILE.py:FACTORY, run from its own folder, and refused in one line that names the place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from unvanish.errors import ScriptError, UnvanishError, UsageError
from unvanish.trials.script.network_factory import call_factory, load_factory

STEM = "a_users_networks"

FILE = """
import a_users_layers

WIDTH = 3


class Net:
    pass


def make():
    return a_users_layers.NET, [WIDTH], None


def fails():
    width = WIDTH
    return inner(width)


def inner(width):
    raise ValueError(f"no network of width {width}")


def asks_for_more(depth):
    return depth


def one():
    return Net()


def two():
    return Net(), 1


def a_list():
    return [Net(), 1, 2]


def a_word():
    return "net"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file with factories, beside a module that it imports; afterwards the interpreter knows neither."""
    path = tmp_path / f"{STEM}.py"
    path.write_text(FILE)
    (tmp_path / "a_users_layers.py").write_text("NET = 'net'\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield path
    for name in (STEM, "a_users_layers"):
        sys.modules.pop(name, None)


def said(file: Path, name: str) -> str:
    """What is said of a factory that cannot be used."""
    path, factory = load_factory(f"{file}:{name}")
    with pytest.raises(ScriptError) as caught:
        call_factory(path, factory)
    return str(caught.value)


def test_a_factory_is_found_and_may_import_what_lies_beside_it(file: Path) -> None:
    path, factory = load_factory(f"{file}:make")
    assert path == file
    assert call_factory(path, factory) == ("net", [3], None)


def test_a_list_of_three_is_as_good_as_a_tuple(file: Path) -> None:
    network, inputs, loss = call_factory(*load_factory(f"{file}:a_list"))
    assert type(network).__name__ == "Net"
    assert (inputs, loss) == (1, 2)


def test_a_relative_name_is_looked_for_from_here(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert load_factory(f"{file.name}:make")[0] == Path(file.name)
    monkeypatch.chdir(file.parent.parent)
    assert call_factory(*load_factory(f"{file.parent.name}/{file.name}:make"))[0] == "net"


def test_classes_of_the_file_can_be_found_by_their_module(file: Path) -> None:
    _, factory = load_factory(f"{file}:one")
    assert sys.modules[factory.__module__].__dict__["one"] is factory  # pickle and copy go that way


@pytest.mark.parametrize("address", ["net.py", "", ":", ":make", "net.py:", "net.py:make()", "net.py:a.b", "net.py:two words"])
def test_another_form_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(UsageError, match=r"name the file and the function .*: model\.py:make"):
        load_factory(address)


@pytest.mark.parametrize("name", ["missing.py", "."])
def test_what_is_no_file_is_named(name: str) -> None:
    with pytest.raises(UnvanishError, match=f"^{name}"):
        load_factory(f"{name}:make")


@pytest.mark.parametrize(("name", "meant"), [("mkae", "make"), ("inne", "inner")])
def test_a_function_that_is_nearly_there_is_suggested(file: Path, name: str, meant: str) -> None:
    with pytest.raises(ScriptError, match=f"has no function {name}; did you mean {meant}\\?"):
        load_factory(f"{file}:{name}")


def test_a_function_that_resembles_none_is_refused_without_a_guess(file: Path) -> None:
    with pytest.raises(ScriptError, match=r"has no function zzz$"):
        load_factory(f"{file}:zzz")


def test_what_is_no_function_is_named_with_its_type(file: Path) -> None:
    with pytest.raises(ScriptError, match=r"WIDTH in .* is int, not a function"):
        load_factory(f"{file}:WIDTH")


def test_a_factory_that_fails_is_said_with_the_line_that_did(file: Path) -> None:
    line = FILE.splitlines().index('    raise ValueError(f"no network of width {width}")') + 1
    assert said(file, "fails") == (
        f'fails() failed: ValueError: no network of width 3 ({file}:{line}  raise ValueError(f"no network of width {{width}}"))'
    )


def test_a_factory_that_wants_arguments_is_said_to(file: Path) -> None:
    assert "missing 1 required positional argument: 'depth'" in said(file, "asks_for_more")


@pytest.mark.parametrize(("name", "got"), [("one", "Net"), ("two", "2"), ("a_word", "str")])
def test_what_is_not_three_things_is_refused_with_what_it_was(file: Path, name: str, got: str) -> None:
    parts = "the network, its inputs, a loss or targets"
    assert said(file, name) == f"{name}() must return three things, {parts}; it returned {got}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def make(:", "SyntaxError"),
        ("1 / 0", "division"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_said_with_its_fault(file: Path, text: str, words: str) -> None:
    file.write_text(dedent(text))
    with pytest.raises(ScriptError) as caught:
        load_factory(f"{file}:make")
    assert words in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_is_refused(file: Path) -> None:
    other = file.with_suffix(".txt")
    other.write_text(FILE)
    with pytest.raises(ScriptError, match=r"give a file that ends in \.py"):
        load_factory(f"{other}:make")
