"""The state that an undo must restore of an optimizer besides its `state_dict`: class, attributes, hooks and objects."""

from __future__ import annotations

from typing import Any

from state_of_network import comparable, state_snapshot
from torch import nn
from torch.optim import Optimizer

HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs")


def state_with_hooks(network: nn.Module, *optimizers: Optimizer) -> dict[str, Any]:
    """The state of a network and its optimizers, with their hooks."""
    return {
        **state_snapshot(network, *optimizers),
        "network hooks": [(path, [list(vars(m)[name]) for name in HOOKS]) for path, m in network.named_modules()],
        "classes": [(type(o), type(o).step) for o in optimizers],
        "attributes": [sorted(vars(o)) for o in optimizers],
        "defaults": [comparable(o.defaults) for o in optimizers],
        "groups": [[id(o.param_groups), *map(id, o.param_groups)] for o in optimizers],
        "hooks": [_hook_ids(optimizer) for optimizer in optimizers],
        "steps": [id(vars(o).get("step")) for o in optimizers],
    }


def _hook_ids(optimizer: Optimizer) -> dict[str, list[int]]:
    return {name: list(map(id, hooks.values())) for name, hooks in vars(optimizer).items() if name.startswith("_optimizer_")}
