"""Snapshots of a network and its optimizer, and of the random generators, as values that can be compared for equality."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def state_snapshot(network: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Everything that an undo restores: objects by identity, tensors by their bytes, flags, attributes and hooks."""
    modules = [("", network), *network.named_modules(remove_duplicate=False)]
    return {
        "modules": [(path, id(module), type(module), module.training) for path, module in modules],
        "attributes": [(path, _attribute_ids(module, {}), _registry_items(module)) for path, module in modules],
        "tensors": [
            (path, id(tensor), tensor.requires_grad, sorted(vars(tensor)), to_comparable(tensor))
            for path, tensor in _list_tensors(network)
        ],
        "keys": list(network.state_dict()),
        "optimizer": (
            type(optimizer),
            _attribute_ids(optimizer, {"state": None, "param_groups": None}),
            _registry_items(optimizer),
        ),
        "groups": [(id(group), id(group["params"]), _settings(group)) for group in optimizer.param_groups],
        "owned": [[id(parameter) for parameter in group["params"]] for group in optimizer.param_groups],
        "state": [(id(parameter), to_comparable(state)) for parameter, state in optimizer.state.items()],
    }


def name_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The names of the aspects in which two snapshots differ, separated by commas; "" where they are equal."""
    return ", ".join(aspect for aspect in before if before[aspect] != after[aspect])


def random_state() -> Any:
    """The states of the random generators that a program may use."""
    algorithm, keys, position, *rest = cast("tuple[Any, ...]", np.random.get_state())
    return torch.get_rng_state().tolist(), random.getstate(), (algorithm, keys.tolist(), position, *rest)


def to_comparable(value: Any) -> Any:
    """The value with every tensor in it replaced by its dtype, device, shape and bytes."""
    if isinstance(value, Tensor):
        return value.dtype, value.device, tuple(value.shape), value.detach().cpu().contiguous().view(-1).view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {key: to_comparable(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [to_comparable(item) for item in cast("list[Any]", value)]
    return value


def _list_tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]


def _attribute_ids(owner: object, excluded: Mapping[str, Any]) -> dict[str, int]:
    """The attributes of an object by identity, so that a dictionary replaced by an equal one counts as changed."""
    return {name: id(value) for name, value in vars(owner).items() if name not in excluded}


def _registry_items(owner: object) -> dict[str, list[tuple[Any, int]]]:
    """The items of an object's registries and hook dictionaries, in order, by identity."""
    dictionaries = {name: value for name, value in vars(owner).items() if isinstance(value, dict) and name != "state"}
    return {name: [(key, id(item)) for key, item in cast("dict[Any, Any]", value).items()] for name, value in dictionaries.items()}


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: to_comparable(value) for name, value in group.items() if name != "params"}
