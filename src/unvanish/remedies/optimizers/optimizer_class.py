"""Changes the class of an optimizer in place, such as SGD to AdamW, so that training loop and schedulers go on with it.

Groups, parameters, the entries of schedulers, and hooks stay. The optimizer's state is dropped: it would mean something else to the
new class.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn
from torch.optim import LBFGS, NAdam, Optimizer, RAdam, RMSprop, SparseAdam
from torch.optim.adam import Adam
from torch.optim.adamax import Adamax

from unvanish.errors import NotApplicable
from unvanish.record.network_changes import Edit, EditTarget
from unvanish.remedies.base import Operation
from unvanish.remedies.hooks.scaled_learning_rate import WARMUP_STEPS_KEY
from unvanish.remedies.optimizers.group_settings import Entries, format_entries, has_scheduler, rate_entries, set_rates

RATE_SIZED = (Adam, NAdam, RAdam, Adamax, RMSprop, SparseAdam)
"""Optimizers whose steps are about as large as the learning rate, whatever the size of the gradient."""

SHARED_ENTRIES = ("params", "param_names", "initial_lr", WARMUP_STEPS_KEY)
"""Entries of a group that belong to no class of optimizer, and stay when the class changes."""

BETAS, EPS, WEIGHT_DECAY = (0.9, 0.999), 1e-8, 0.01
"""AdamW's defaults in torch; betas and eps are those of Kingma 2015, arXiv 1412.6980, algorithm 1."""

# Attributes by which a fused optimizer informs a gradient scaler; they do not hold for the next class.
_FUSED_ATTRIBUTES = ("_step_supports_amp_scaling", "_need_device_dtype_check_for_fused", "grad_scale", "found_inf")


def has_rate_sized_steps(optimizer: Optimizer) -> bool:
    """Whether a step of the optimizer is about as large as its learning rate, as with Adam, whatever the size of the gradient."""
    return isinstance(optimizer, RATE_SIZED) or "adam" in type(optimizer).__name__.lower()


def require_no_float16(optimizer: Optimizer, *, remedy: str) -> None:
    """Raises NotApplicable, in the name of `remedy`, where parameters are float16: Adam's epsilon of 1e-8 is zero there."""
    if any(parameter.dtype is torch.float16 for group in optimizer.param_groups for parameter in group["params"]):
        raise NotApplicable(
            f"{remedy}: Adam's epsilon of 1e-8 is zero in float16, so that a unit without gradient would be divided by zero; keep "
            "the parameters in float32, and compute in float16 under torch.autocast"
        )


def require_replaceable(optimizer: Optimizer, network: nn.Module, *, remedy: str) -> None:
    """Raises NotApplicable, in the name of `remedy`, where the class of the optimizer cannot be changed in place."""
    name = type(optimizer).__name__
    if isinstance(optimizer, LBFGS):
        raise NotApplicable(f"{remedy}: LBFGS runs the training loop from inside its step; build another optimizer by hand")
    sparse = [
        path for path, module in network.named_modules() if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse
    ]
    if isinstance(optimizer, SparseAdam) or sparse:
        location = f" of {sparse[0]!r}" if sparse else ""
        raise NotApplicable(
            f"{remedy}: the gradients{location} are sparse, which few optimizers take; use sparse=False there first"
        )
    if any(isinstance(value, Optimizer) for value in vars(optimizer).values()):
        raise NotApplicable(f"{remedy}: {name} wraps another optimizer; apply the remedy to that one, before it is wrapped")
    if "step" in vars(optimizer) and not has_scheduler(optimizer):
        raise NotApplicable(
            f"{remedy}: the step of this {name} has been replaced by other code, which would go on to run the old one; "
            "apply the remedy directly after the optimizer is built"
        )


@dataclass(frozen=True, slots=True)
class ChangeClass(Operation):
    """Changes the class of an optimizer in place, with new settings.

    Arguments:
        path: the optimizer's name in edits, from `find_optimizers`.
        optimizer: the optimizer, which stays the same object; its state is dropped.
        new_class: its new class.
        entries: settings for each parameter group.
        before: the optimizer with its present settings in words, for the edit.
        attributes: attributes that an optimizer of the new class has besides.
    """

    path: str
    optimizer: Optimizer
    new_class: type[Optimizer]
    entries: tuple[Entries, ...]
    before: str
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def edit(self) -> Edit:
        """The optimizer with its settings, before and after."""
        after = f"{self.new_class.__name__}({format_entries(self.entries)})"
        return Edit("replace", self.path, self.before, after, target=EditTarget.OPTIMIZER)

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Changes class and settings; torch fills in the options that are not set, as it does when it unpickles an optimizer."""
        del network, optimizers
        optimizer, scheduled = self.optimizer, has_scheduler(self.optimizer)
        for name in (*_FUSED_ATTRIBUTES, "step"):
            vars(optimizer).pop(name, None)
        for group, entries in zip(optimizer.param_groups, self.entries, strict=True):
            if not scheduled:  # a scheduler that cycles momentum looks for the entries that were there when it was built
                for name in [name for name in group if name not in (*SHARED_ENTRIES, *entries)]:
                    del group[name]
            group.update(entries)
        optimizer.state.clear()
        optimizer.__class__ = self.new_class
        optimizer.defaults = {}
        optimizer.__setstate__(dict(self.attributes))
        first = optimizer.param_groups[0]
        optimizer.defaults = {name: value for name, value in first.items() if name not in SHARED_ENTRIES}
        if scheduled:
            vars(optimizer)["step"] = _make_scheduled_step(optimizer)


def change_class(
    path: str,
    optimizer: Optimizer,
    new_class: type[Optimizer],
    entries: Sequence[Entries],
    *,
    rates: Sequence[float] | None = None,
    **attributes: Any,
) -> tuple[Operation, ...]:
    """The operations that change the class of an optimizer, and its learning rates.

    Groups that maximise go on to maximise.

    Arguments:
        path: the optimizer's name in edits, from `find_optimizers`.
        optimizer: the optimizer, which stays the same object.
        new_class: its new class.
        entries: settings for each parameter group, without learning rate.
        rates: a new learning rate for each group; None keeps the present ones. Where there is a scheduler, the groups keep the
            scheduler's, and each step takes them times a factor.
        attributes: attributes that an optimizer of the new class has besides.
    """
    groups = optimizer.param_groups
    writes_rates = rates is not None and not has_scheduler(optimizer)
    rate_settings = (
        [rate_entries(group, rate) for group, rate in zip(groups, rates or (), strict=True)]
        if writes_rates
        else [{"lr": group["lr"]} for group in groups]
    )
    all_entries = [
        {**rate_setting, **settings, "maximize": bool(group.get("maximize", False))}
        for group, rate_setting, settings in zip(groups, rate_settings, entries, strict=True)
    ]
    shown_settings = [{name: group[name] for name in ("lr", "momentum", "weight_decay") if group.get(name)} for group in groups]
    before = f"{type(optimizer).__name__}({format_entries(shown_settings)})"
    operation = ChangeClass(path, optimizer, new_class, tuple(all_entries), before, attributes)
    return (operation,) if writes_rates or rates is None else (operation, set_rates(path, optimizer, rates))


def _make_scheduled_step(optimizer: Optimizer) -> Callable[..., Any]:
    """A `step` for an optimizer that has a scheduler: it records that it was called, which the scheduler checks."""
    reference = weakref.ref(optimizer)

    def step(*args: Any, **kwargs: Any) -> Any:
        own = cast(Any, reference())
        vars(own)["_opt_called"] = True
        return type(own).step(own, *args, **kwargs)

    vars(step)["_wrapped_by_lr_sched"] = True
    return step


def adamw_entries(optimizer: Optimizer) -> list[dict[str, Any]]:
    """AdamW's settings for every group of an optimizer, without learning rate.

    Weight decay is torch's 0.01, and 0 for a group that has none while another has: it was exempted.

    Example:
        >>> from unvanish.remedies.optimizers.optimizer_class import adamw_entries
        >>> adamw_entries(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))
        [{'betas': (0.9, 0.999), 'eps': 1e-08, 'weight_decay': 0.01}]
    """
    decays = [float(group.get("weight_decay", 0.0)) for group in optimizer.param_groups]
    entries: list[dict[str, Any]] = []
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        betas = group["betas"] if has_rate_sized_steps(optimizer) and "betas" in group else BETAS
        entries.append({"betas": betas, "eps": EPS, "weight_decay": 0.0 if any(decays) and not decay else WEIGHT_DECAY})
    return entries
