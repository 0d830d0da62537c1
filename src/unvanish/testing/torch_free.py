"""Whether a module can be used without torch: asked in a process of its own, and by listening while a function runs."""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

_ASK = """
import importlib, sys
sys.path[:] = {path!r}
importlib.import_module({name!r})
print("\\n".join(sys.modules))
"""
TIMEOUT_S = 120


def opens_without_torch(module: str) -> bool:
    """Whether importing a module leaves torch alone. Raises AssertionError where it cannot be imported by its name.

    The package around the module is asked first: where it opens the module too, one process answers for all of its modules.
    """
    for name in (module.rpartition(".")[0] or module, module):
        loaded = _loaded_by(name, tuple(sys.path))
        if "torch" in loaded:
            return False
        if module in loaded:
            return True
    return False


@contextmanager
def listening_for_torch() -> Generator[list[str]]:
    """A list that holds, once the block has run, every name of torch that an import statement in it asked for."""
    heard: list[str] = []
    ordinary = builtins.__import__

    def listen(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "torch":
            heard.append(name)
        return ordinary(name, *rest, **more)

    builtins.__import__ = listen
    try:
        yield heard
    finally:
        builtins.__import__ = ordinary


@cache
def _loaded_by(name: str, path: tuple[str, ...]) -> frozenset[str]:
    code = _ASK.format(name=name, path=list(path))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S)
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:]
        raise AssertionError(f"{name} cannot be imported by its name in a new process ({''.join(last)}); keep the rule in a module")
    return frozenset(ended.stdout.split())
