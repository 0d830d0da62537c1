"""Checks that a module can be imported without torch, in a new process, and records imports of torch while code runs."""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

_LIST_MODULES = """
import importlib, sys
sys.path[:] = {path!r}
importlib.import_module({name!r})
print("\\n".join(sys.modules))
"""
TIMEOUT_S = 120


def imports_without_torch(module: str) -> bool:
    """Whether importing a module does not import torch. Raises AssertionError where it cannot be imported by its name.

    The package of the module is imported first: where it imports the module too, one process serves all of its modules.
    """
    for name in (module.rpartition(".")[0] or module, module):
        imported = _list_imported_modules(name, tuple(sys.path))
        if "torch" in imported:
            return False
        if module in imported:
            return True
    return False


@contextmanager
def record_torch_imports() -> Generator[list[str]]:
    """A list to which every name of torch that is imported in the block is added."""
    torch_names: list[str] = []
    original_import = builtins.__import__

    def record_import(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "torch":
            torch_names.append(name)
        return original_import(name, *args, **kwargs)

    builtins.__import__ = record_import
    try:
        yield torch_names
    finally:
        builtins.__import__ = original_import


@cache
def _list_imported_modules(name: str, path: tuple[str, ...]) -> frozenset[str]:
    code = _LIST_MODULES.format(name=name, path=list(path))
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S)
    if process.returncode:
        last_line = process.stderr.strip().splitlines()[-1:]
        raise AssertionError(
            f"{name} cannot be imported by its name in a new process ({''.join(last_line)}); keep the rule in a module"
        )
    return frozenset(process.stdout.split())
