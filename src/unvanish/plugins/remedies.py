"""Remedies by entry point: those of other packages, and the built-in ones, which enter by the same door; and the public `apply`.

A package adds remedies under `[project.entry-points."unvanish.remedies"]`: each name stands for a Remedy class, a Remedy, or a
function that gives several. A plugin that is broken is left out with one line on standard error, and never ends a program.
Remedies need torch, which is imported when the shelf is first asked for, and not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from unvanish.plugins.entry_points import PluginGroup, PluginRegistry, say

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from unvanish.record.change import Change
    from unvanish.remedies import Catalogue, Remedy

BUILT_IN = EntryPoint("built-in", "unvanish.remedies.catalogue:built_in", "unvanish.remedies")


def apply(
    model: nn.Module,
    *names: str,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    inputs: Any = None,
    loss: Any = None,
    seed: int = 0,
) -> Change:
    """The change that the named remedies made to the model, in place and in the order given; `change.undo()` takes it back.

    Each remedy sees what those before it did: "relu", "he-init" initialises for ReLU. `optimizer` is the one that trains the
    model, or several: new parameters join it, and its state of redrawn ones starts afresh. `inputs` is one example batch (a
    tensor, a tuple of positional or a dict of keyword arguments), for remedies that need shapes or values, and `loss` takes the
    model's outputs to one number, for those that try something out (learning-rate). Random numbers come from a generator seeded
    with `seed`, one for each remedy: the same model, names and seed give the same weights, on any device, and the program's own
    random state stays as it was. The names are those that `unvanish list remedies` shows, of installed plugins too.

    Undoing restores modules, values, flags and the optimizers as they were before the call, training since included. For
    that the change keeps a copy of all parameters, buffers and optimizer state for as long as it is referenced.

    Raises UnknownRemedy for a name that no remedy has, NotApplicable where a remedy cannot act, and UsageError for
    arguments of the wrong kind. After an error the model and the optimizer are as they were.
    """
    from unvanish import remedies

    return remedies.apply(model, *names, optimizer=optimizer, inputs=inputs, loss=loss, seed=seed, catalogue=catalogue())


def catalogue() -> Catalogue:
    """Every remedy that is installed, by name: ours first, then those of other packages."""
    return admission().things


@cache
def admission() -> PluginRegistry[Remedy]:
    """The remedies of this process and their packages, loaded when first asked for. What is left out is said there."""
    found = door()
    return PluginRegistry(found, found.installed(), say=say)


def door() -> PluginGroup[Remedy]:
    """What may come in as a remedy."""
    from unvanish.remedies import Remedy

    return PluginGroup(BUILT_IN, Remedy, noun="remedy", key="name", example="he-init", flaw=_flaw)


def _flaw(remedy: Remedy) -> str:
    from unvanish.remedies.base import FAMILIES

    kind = type(remedy).__qualname__
    told: dict[str, object] = {name: getattr(remedy, name, None) for name in ("family", "summary", "treats")}
    family, summary, treats = told.values()
    if family not in FAMILIES:
        return f"the family of {kind} is {family!r}, and must be one of {', '.join(FAMILIES)}"
    if not isinstance(summary, str) or not summary or "\n" in summary:
        return f"the summary of {kind} must be one line that says what it does"
    if not isinstance(treats, tuple) or not all(isinstance(code, str) for code in treats):
        return f"{kind} must have a tuple of the codes of findings that it treats"
    return ""
