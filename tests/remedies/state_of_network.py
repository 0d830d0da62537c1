"""The state that an undo must restore, of a network and its optimizers, as values that can be compared."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def state_snapshot(network: nn.Module, *optimizers: Optimizer) -> dict[str, Any]:
    """The state of a network and its optimizers: objects by identity, tensors by their bytes, flags."""
    named = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    return {
        "modules": [(path, id(m), m.training) for path, m in network.named_modules(remove_duplicate=False)],
        "tensors": [(path, id(t), t.requires_grad, comparable(t)) for path, t in named],
        "keys": list(network.state_dict()),
        "owned": [[id(p) for p in group["params"]] for o in optimizers for group in o.param_groups],
        "optimizers": [comparable(o.state_dict()) for o in optimizers],
    }


def random_state() -> Any:
    """The states of the random generators that a program may use."""
    kind, keys, position, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), (kind, keys.tolist(), position, *rest)


def comparable(value: Any) -> Any:
    """A value with each tensor replaced by dtype, device, shape and bytes."""
    if isinstance(value, Tensor):
        return value.dtype, value.device, tuple(value.shape), value.detach().contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [comparable(item) for item in value]
    return value
