"""Loads a function of the user's that builds a network, named as FILE.py:FACTORY, and calls it."""

from __future__ import annotations

import difflib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from unvanish.errors import ScriptError, UnvanishError, UsageError

PARTS = ("the network", "its inputs", "a loss or targets")


def load_factory(address: str) -> tuple[Path, Callable[[], Any]]:
    """The file and the function that FILE.py:FACTORY names. The file is imported, with its folder on `sys.path`, as when it is run.

    Raises UsageError for another form, ScriptError where the file cannot be read or has no such function.
    """
    file, colon, name = address.rpartition(":")
    if not colon or not name.isidentifier() or not file:
        raise UsageError(
            f"{address}: name the file and the function in it that returns the network, its inputs and a loss: model.py:make"
        )
    path = Path(file)
    if not path.is_file():
        raise ScriptError(f"{file}: no such file")
    module = _import_file(path)
    factory = module.__dict__.get(name)
    if factory is None:
        functions = [key for key, value in module.__dict__.items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(name, functions, n=1)
        raise ScriptError(f"{file} has no function {name}" + (f"; did you mean {near[0]}?" if near else ""))
    if not callable(factory):
        raise ScriptError(f"{name} in {file} is {type(factory).__name__}, not a function that returns the network")
    return path, factory


def call_factory(path: Path, factory: Callable[[], Any]) -> tuple[Any, Any, Any]:
    """Network, inputs, and loss or targets, as the factory of the file `path` returns them.

    Raises ScriptError where the factory fails or does not return three things.
    """
    name = getattr(factory, "__name__", "the factory")
    with user_code(path, f"{name}()"):
        result = factory()
    parts = cast(Sequence[Any], result) if isinstance(result, tuple | list) else None
    if parts is None or len(parts) != len(PARTS):
        got = type(result).__name__ if parts is None else f"{len(parts)}"
        raise ScriptError(f"{name}() must return three things, {', '.join(PARTS)}; it returned {got}")
    network, inputs, loss = parts
    return network, inputs, loss


@contextmanager
def user_code(path: Path, what: str) -> Generator[None]:
    """A context in which an exception of the user's code becomes a ScriptError: `what` failed, why, and at which line."""
    try:
        yield
    except UnvanishError:
        raise
    except Exception as fault:
        raise ScriptError(f"{what} failed: {type(fault).__name__}: {fault}{_describe_line(path, fault)}") from fault


def _import_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ScriptError(f"{path} cannot be loaded as a Python file; give a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.resolve().parent))
    with user_code(path, f"loading {path}"):
        spec.loader.exec_module(module)
    return module


def _describe_line(path: Path, fault: BaseException) -> str:
    """The last line of the user's file that led to the fault, in brackets; "" where none did."""
    frames = [frame for frame in traceback.extract_tb(fault.__traceback__) if Path(frame.filename).resolve() == path.resolve()]
    return f" ({path}:{frames[-1].lineno}  {frames[-1].line})" if frames else ""
