"""Where torch keeps the hooks of a module, and how a module is copied without them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import nn

HOOK_DICTS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def forward_hooks(module: nn.Module) -> tuple[Callable[..., Any], ...]:
    """The hooks that run after a module's forward pass, in order."""
    return tuple(vars(module)["_forward_hooks"].values())


def forward_pre_hooks(module: nn.Module) -> tuple[Callable[..., Any], ...]:
    """The hooks that run before a module's forward pass, in order."""
    return tuple(vars(module)["_forward_pre_hooks"].values())


def memo_without_hooks(network: nn.Module) -> dict[int, Any]:
    """A memo for `copy.deepcopy` by which the copy has no hooks.

    Hooks may hold anything (a logger, an open file), and would run on the copy as if it were the network.

    Example:
        >>> import copy
        >>> from torch import nn
        >>> network = nn.Linear(2, 2)
        >>> handle = network.register_forward_hook(print)
        >>> len(forward_hooks(copy.deepcopy(network, memo_without_hooks(network))))
        0
    """
    states = [vars(module) for module in network.modules()]
    return {id(state[name]): OrderedDict[int, Any]() for state in states for name in HOOK_DICTS if name in state}
