"""Finds why a deep network has stopped learning, applies the cheapest change that cures it, and proves the cure.

with unvanish.watch(model) as run: ...       the loop untouched; then run.findings, run.report("out.html")
unvanish.trace(model, inputs, loss)          one exact trace: which operation took how much of the gradient
unvanish.check(model, inputs, loss)          that, what theory says, and what is wrong, before any training
unvanish.fix(train)                          cures raced on what train() trains; result.verdicts, result.winner
unvanish.apply(model, "relu", "he-init")     remedies by name, in place; returns the Change, which undoes
unvanish.log(val_accuracy=0.93)              a metric of the run; outside a run, nothing

Names are resolved when first used, so that a stored run can be read on a machine without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unvanish.errors import UnvanishError
    from unvanish.observe import log
    from unvanish.plugins.remedies import apply
    from unvanish.workflows.check import check
    from unvanish.workflows.fix_function import fix
    from unvanish.workflows.trace import trace
    from unvanish.workflows.watch import watch

__all__ = ["UnvanishError", "apply", "check", "fix", "log", "trace", "watch"]
__version__ = "0.1.0"

_MODULE_OF_NAME = {
    "UnvanishError": "unvanish.errors",
    "apply": "unvanish.plugins.remedies",
    "check": "unvanish.workflows.check",
    "fix": "unvanish.workflows.fix_function",
    "log": "unvanish.observe",
    "trace": "unvanish.workflows.trace",
    "watch": "unvanish.workflows.watch",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF_NAME:
        return getattr(import_module(_MODULE_OF_NAME[name]), name)
    raise AttributeError(f"module 'unvanish' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
