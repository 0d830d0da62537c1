"""Remedies by entry point: the built-in ones, and those of other packages; and the public `apply` over all of them.

A package adds remedies under `[project.entry-points."unvanish.remedies"]`: each name stands for a Remedy class, a Remedy, or a
function that gives several. A plugin that is broken is left out with one line on standard error, and never ends a program.
Remedies need torch, which is imported when they are first asked for, and not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from unvanish.plugins.entry_points import PluginGroup, PluginRegistry, warn_on_stderr

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from unvanish.record.network_changes import Change
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

    Each remedy sees what those before it did: "relu", "he-init" initialises for ReLU.

    Arguments:
        model: the network to change.
        names: as `unvanish list remedies` shows them, of installed plugins too.
        optimizer: the one that trains the model, or several: new parameters join it, and its state of redrawn ones starts afresh.
        inputs: one example batch, for remedies that need shapes or values: a tensor (batch, ...), a tuple of positional or a dict
            of keyword arguments.
        loss: takes the model's outputs to one number, for remedies that try something out (learning-rate).
        seed: of the generator, one for each remedy, that random numbers come from: the same model, names and seed give the same
            weights on any device, and the program's own random state stays as it was.

    Undoing restores modules, values, flags and the optimizers as they were before the call, training since included. For
    that the change keeps a copy of all parameters, buffers and optimizer state for as long as it is referenced.

    A network that computes something else from its weights afterwards has a key in its `state_dict` that says so, such as "changed
    by unvanish: relu": it loads into a network with the same remedies, and one without refuses it.

    Raises UnknownRemedy for a name that no remedy has, NotApplicable where a remedy cannot act, and UsageError for
    arguments of the wrong kind. After an error the model and the optimizer are as they were.

    Example:
        >>> import torch, unvanish
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Sigmoid(), torch.nn.Linear(8, 2))
        >>> change = unvanish.apply(model, "relu", "he-init")
        >>> model[1]
        ReLU()
        >>> change.undo()
        >>> model[1]
        Sigmoid()
    """
    from unvanish import remedies

    return remedies.apply(model, *names, optimizer=optimizer, inputs=inputs, loss=loss, seed=seed, catalogue=catalogue())


def catalogue() -> Catalogue:
    """Every remedy that is installed, by name: ours first, then those of other packages."""
    return registry().plugins


@cache
def registry() -> PluginRegistry[Remedy]:
    """Every installed remedy and its package, loaded at the first call; what cannot be used is warned of on standard error."""
    group = remedy_group()
    return PluginRegistry(group, group.entries(), warn=warn_on_stderr)


def remedy_group() -> PluginGroup[Remedy]:
    """The entry points of remedies."""
    from unvanish.remedies import Remedy

    return PluginGroup(BUILT_IN, Remedy, noun="remedy", key="name", example="he-init", flaw=_flaw)


def _flaw(remedy: Remedy) -> str:
    from unvanish.remedies.base import FAMILIES

    kind = type(remedy).__qualname__
    values: dict[str, object] = {name: getattr(remedy, name, None) for name in ("family", "summary", "treats")}
    family, summary, treats = values.values()
    if family not in FAMILIES:
        return f"the family of {kind} is {family!r}, and must be one of {', '.join(FAMILIES)}"
    if not isinstance(summary, str) or not summary or "\n" in summary:
        return f"the summary of {kind} must be one line that says what it does"
    if not isinstance(treats, tuple) or not all(isinstance(code, str) for code in treats):
        return f"{kind} must have a tuple of the codes of findings that it treats"
    return ""
