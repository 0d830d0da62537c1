"""What an undo has to restore of an optimizer beside its `state_dict`: class, attributes, hooks, and the objects it is made of."""

from __future__ import annotations

from typing import Any

from state_of_network import plain, portrait
from torch import nn
from torch.optim import Optimizer

HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs")


def whole(network: nn.Module, *optimizers: Optimizer) -> dict[str, Any]:
    """The portrait of a network and its optimizers, with their hooks."""
    return {
        **portrait(network, *optimizers),
        "network hooks": [(path, [list(vars(m)[name]) for name in HOOKS]) for path, m in network.named_modules()],
        "classes": [(type(o), type(o).step) for o in optimizers],
        "attributes": [sorted(vars(o)) for o in optimizers],
        "defaults": [plain(o.defaults) for o in optimizers],
        "groups": [[id(o.param_groups), *map(id, o.param_groups)] for o in optimizers],
        "hooks": [
            {name: list(map(id, d.values())) for name, d in vars(o).items() if name.startswith("_optimizer_")} for o in optimizers
        ],
        "steps": [id(vars(o).get("step")) for o in optimizers],
    }


def _hooks(optimizer: Optimizer) -> dict[str, list[int]]:
    return {name: list(map(id, held.values())) for name, held in vars(optimizer).items() if name.startswith("_optimizer_")}
