"""What remedies would do to a live network, found out on copies. Network, optimizers and the random state stay as they were.

A change to a script enters where the script builds its optimizer, so the copies of the optimizers are as they were built: with
the rates that their schedulers started from.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from unvanish.errors import UnvanishError
from unvanish.record.change import Edit, Plan, PlanStep
from unvanish.remedies.apply import apply
from unvanish.remedies.graph.model_copy import hooks_left_out
from unvanish.remedies.registry import Catalogue


def planned(
    model: nn.Module,
    names: Sequence[str],
    *,
    optimizers: Sequence[Optimizer] = (),
    inputs: Any = None,
    loss: Any = None,
    catalogue: Catalogue | None = None,
) -> Plan:
    """The edits of the remedies, taken in this order; or why one of them cannot act.

    `inputs` and `loss` are as for `apply`. Cost: two copies of the network and of its optimizers.
    """
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        try:
            steps = _steps(model, names, optimizers, catalogue, inputs=inputs, loss=loss)
        except UnvanishError as why:
            return Plan(tuple(names), refusal=_without_name(str(why), names))
        except Exception as why:  # what cannot be copied, or run apart from its program, may raise anything
            return Plan(tuple(names), refusal=f"it could not be planned on a copy of the network ({type(why).__name__}: {why})")
        alone = len(steps) if inputs is None and loss is None else _alone(model, steps, optimizers, catalogue)
    return Plan(tuple(names), tuple(PlanStep(s.remedy, s.edits, needs_batch=at >= alone) for at, s in enumerate(steps)))


def _steps(
    model: nn.Module, names: Sequence[str], optimizers: Sequence[Optimizer], catalogue: Catalogue | None, **given: Any
) -> tuple[PlanStep, ...]:
    double, doubles = _copies(model, optimizers)
    return tuple(PlanStep(name, apply(double, name, optimizer=doubles, catalogue=catalogue, **given).edits) for name in names)


def _alone(model: nn.Module, steps: Sequence[PlanStep], optimizers: Sequence[Optimizer], catalogue: Catalogue | None) -> int:
    """How many of the steps come out without a batch, up to the first that does not; the scale of drawn numbers does not matter."""
    double, doubles = _copies(model, optimizers)
    for count, step in enumerate(steps):
        try:
            change = apply(double, step.remedy, optimizer=doubles, catalogue=catalogue)
        except Exception:  # the user's modules may raise anything: no matter why it cannot
            return count
        if _structure(change.edits) != _structure(step.edits):
            return count
    return len(steps)


def _structure(edits: Sequence[Edit]) -> list[Edit]:
    return [edit for edit in edits if edit.action != "initialise"]


def _copies(model: nn.Module, optimizers: Sequence[Optimizer]) -> tuple[nn.Module, tuple[Optimizer, ...]]:
    """The network and its optimizers once more, joined as they are. Tensors that a forward pass left behind lose their history."""
    loose = [leaf for module in model.modules() for leaf in tree_leaves(list(vars(module).values())) if isinstance(leaf, Tensor)]
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in loose if not tensor.is_leaf}
    try:
        double, doubles = copy.deepcopy((model, tuple(optimizers)), dict(memo))
    except Exception:  # a hook may hold anything: an open file, a lock
        double, doubles = copy.deepcopy((model, tuple(optimizers)), memo | hooks_left_out(model))
    for group in (group for optimizer in doubles for group in optimizer.param_groups):
        if "initial_lr" in group:
            group["lr"] = group.pop("initial_lr")
    return double, doubles


def _without_name(text: str, names: Sequence[str]) -> str:
    for name in names:
        text = text.removeprefix(f"{name}: ")
    return text
