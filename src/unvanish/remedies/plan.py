"""Finds out on copies what remedies would do to a live network; network, optimizers and random state stay as they were.

A change to a script enters where the script builds its optimizer. So the copies of the optimizers get the learning rates that
their schedulers started from.
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
from unvanish.network.module_hooks import memo_without_hooks
from unvanish.record.network_changes import Edit, Plan, PlanStep
from unvanish.remedies.apply import apply
from unvanish.remedies.registry import Catalogue


def plan_remedies(
    model: nn.Module,
    names: Sequence[str],
    *,
    optimizers: Sequence[Optimizer] = (),
    inputs: Any = None,
    loss: Any = None,
    catalogue: Catalogue | None = None,
) -> Plan:
    """The edits that the remedies would make, one step a remedy; or, as the plan's `refusal`, why one of them cannot act.

    Raises nothing: whatever goes wrong becomes the refusal.

    Arguments:
        model: the network; it is neither run nor altered.
        names: names of remedies, in order: each plans on what those before it did.
        optimizers: those that train the network.
        inputs: one example batch, as for `apply`. A step says whether it needs one.
        loss: from the network's outputs to one number, as for `apply`.
        catalogue: remedies by name; by default those that come with the package.

    Cost: two copies of the network and of its optimizers.

    Example:
        >>> from torch import nn
        >>> from unvanish.remedies.plan import plan_remedies
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1))
        >>> [(edit.path, edit.before, edit.after) for edit in plan_remedies(network, ["relu"]).steps[0].edits]
        [('1', 'Sigmoid()', 'ReLU()')]
        >>> network[1]
        Sigmoid()
    """
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        try:
            steps = _plan_steps(model, names, optimizers, catalogue, inputs=inputs, loss=loss)
        except UnvanishError as error:
            return Plan(tuple(names), refusal=_strip_remedy_name(str(error), names))
        except Exception as error:  # what cannot be copied, or run apart from its program, may raise anything
            return Plan(tuple(names), refusal=f"it could not be planned on a copy of the network ({type(error).__name__}: {error})")
        first_with_batch = (
            len(steps) if inputs is None and loss is None else _count_without_batch(model, steps, optimizers, catalogue)
        )
    return Plan(
        tuple(names),
        tuple(PlanStep(step.remedy, step.edits, needs_batch=position >= first_with_batch) for position, step in enumerate(steps)),
    )


def _plan_steps(
    model: nn.Module, names: Sequence[str], optimizers: Sequence[Optimizer], catalogue: Catalogue | None, **batch: Any
) -> tuple[PlanStep, ...]:
    copied, optimizer_copies = _copy_together(model, optimizers)
    return tuple(
        PlanStep(name, apply(copied, name, optimizer=optimizer_copies, catalogue=catalogue, **batch).edits) for name in names
    )


def _count_without_batch(
    model: nn.Module, steps: Sequence[PlanStep], optimizers: Sequence[Optimizer], catalogue: Catalogue | None
) -> int:
    """How many steps make the same edits without a batch, up to the first that does not; scales of drawn numbers may differ."""
    copied, optimizer_copies = _copy_together(model, optimizers)
    for count, step in enumerate(steps):
        try:
            change = apply(copied, step.remedy, optimizer=optimizer_copies, catalogue=catalogue)
        except Exception:  # the user's modules may raise anything
            return count
        if _without_initialisation(change.edits) != _without_initialisation(step.edits):
            return count
    return len(steps)


def _without_initialisation(edits: Sequence[Edit]) -> list[Edit]:
    return [edit for edit in edits if edit.action != "initialise"]


def _copy_together(model: nn.Module, optimizers: Sequence[Optimizer]) -> tuple[nn.Module, tuple[Optimizer, ...]]:
    """Copies of the network and of its optimizers, which train the copy. Tensors that a forward pass left lose their history."""
    attributes = [
        leaf for module in model.modules() for leaf in tree_leaves(list(vars(module).values())) if isinstance(leaf, Tensor)
    ]
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in attributes if not tensor.is_leaf}
    try:
        copied, optimizer_copies = copy.deepcopy((model, tuple(optimizers)), dict(memo))
    except Exception:  # a hook may hold anything: an open file, a lock
        copied, optimizer_copies = copy.deepcopy((model, tuple(optimizers)), memo | memo_without_hooks(model))
    for group in (group for optimizer in optimizer_copies for group in optimizer.param_groups):
        if "initial_lr" in group:
            group["lr"] = group.pop("initial_lr")
    return copied, optimizer_copies


def _strip_remedy_name(text: str, names: Sequence[str]) -> str:
    for name in names:
        text = text.removeprefix(f"{name}: ")
    return text
