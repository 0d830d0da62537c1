"""Python runs this file at its start, where a run has put its folder on the search path: it has the process watched if it trains.

It imports nothing of ours before the program has imported torch, hides what the run has put into the environment, and then lets the
program's own `sitecustomize` run. Any Python may meet it, so it keeps to what every Python 3 has, and drops each fault of its own.
"""

import os
import sys

FOLLOW = "UNVANISH_FOLLOW"


def _hide_from_program(folder: str) -> str:
    """The order to follow. Programs that are started inherit the C environment, which keeps what this one no longer sees."""
    order, paths = os.environ[FOLLOW], os.environ.get("PYTHONPATH", "")
    others = [path for path in paths.split(os.pathsep) if path and path != folder]
    del os.environ[FOLLOW]
    if others:
        os.environ["PYTHONPATH"] = os.pathsep.join(others)
    else:
        os.environ.pop("PYTHONPATH", None)
    os.putenv(FOLLOW, order)
    os.putenv("PYTHONPATH", paths)
    sys.path[:] = [path for path in sys.path if path != folder]
    return order


class _TorchWatcher:
    """Waits at the head of `sys.meta_path` for the import of torch, and then has this process watched."""

    def __init__(self, order: str) -> None:
        self._order = order

    def find_spec(self, fullname: str, path: "object" = None, target: "object" = None) -> "object":
        """The spec of torch as the other finders give it; None for any other module."""
        if fullname != "torch":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        try:
            from unvanish.trials.children.launched import begin_at_import

            begin_at_import(self._order)
        except Exception:
            return None
        for finder in list(sys.meta_path):
            spec = finder.find_spec(fullname, path, target)  # type: ignore[arg-type]
            if spec is not None:
                return spec
        return None


def _run_own_sitecustomize() -> None:
    """Imports the next `sitecustomize` on the search path, as Python would have done."""
    own = sys.modules.pop("sitecustomize", None)
    try:
        __import__("sitecustomize")
    except ImportError as fault:
        if fault.name != "sitecustomize":
            raise
    finally:
        if own is not None:
            sys.modules.setdefault("sitecustomize", own)


def _begin() -> None:
    try:
        order = _hide_from_program(os.path.dirname(os.path.abspath(__file__)))
        if order.startswith("trial "):
            from unvanish.trials.children.launched import begin_trial

            begin_trial(order)
        sys.meta_path.insert(0, _TorchWatcher(order))  # type: ignore[arg-type]
    except Exception:
        return


if FOLLOW in os.environ:
    _begin()
    _run_own_sitecustomize()
