"""Writes remedies into the text of the user's source files. Pure: runs no source and touches no disk.

libcst is imported only when a patch is written, so importing this package stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unvanish.patch.apply_call_line import insert_apply_after_optimizer, insert_apply_before_optimizer
    from unvanish.patch.git_diff import unified_diff
    from unvanish.patch.source.encoding import decode_source, encode_source
    from unvanish.record.network_changes import PatchContext, Plan

__all__ = [
    "decode_source",
    "edit_sources",
    "encode_source",
    "insert_apply_after_optimizer",
    "insert_apply_before_optimizer",
    "unified_diff",
]

_LAZY_EXPORTS = (
    ("git_diff", ("unified_diff",)),
    ("source.encoding", ("decode_source", "encode_source")),
    ("apply_call_line", ("insert_apply_before_optimizer", "insert_apply_after_optimizer")),
)


def edit_sources(plan: Plan, context: PatchContext, read: Callable[[Path], str], *, rate_factor: float = 1.0) -> dict[Path, str]:
    """The new text of each of the user's files that the plan edits, by path; files that need no edit are left out.

    A remedy whose edits can all be expressed in the source is written in place. The others go into one `unvanish.apply(...)` line
    at the statement that builds the optimizer: before it, or behind it where one of them alters the optimizer. Edits that a source
    has already are not written again.

    Arguments:
        plan: the remedies and their edits, as planned on the live network.
        context: the lines that built the network's modules and its optimizer.
        read: gives the text of a file.
        rate_factor: multiplies the learning rate besides; the new optimizer's own rate where the plan replaces the optimizer.

    Raises:
        TrialError: a remedy can be written neither in place nor into a line.
        ScriptError: a file cannot be read.

    Example:
        >>> from pathlib import Path
        >>> from unvanish.record.network_changes import Edit, ModuleOrigin, PatchContext, Plan, PlanStep
        >>> from unvanish.record.structure import Location
        >>> source = "from torch import nn\\nnet = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 2))\\n"
        >>> plan = Plan(("relu",), (PlanStep("relu", (Edit("replace", "1", "Sigmoid()", "ReLU()"),)),))
        >>> origin = ModuleOrigin("1", "Sigmoid", Location("train.py", 2, source.splitlines()[1]))
        >>> edited = edit_sources(plan, PatchContext(None, (origin,)), lambda path: source)
        >>> print(edited[Path("train.py")], end="")
        from torch import nn
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    """
    from unvanish.patch import plan_edits

    return plan_edits.edit_sources(plan, context, read, rate_factor=rate_factor)


def __getattr__(name: str) -> Any:
    for module, names in _LAZY_EXPORTS:
        if name in names:
            return getattr(import_module(f"unvanish.patch.{module}"), name)
    raise AttributeError(f"module 'unvanish.patch' has no attribute {name!r}")
