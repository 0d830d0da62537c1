"""Operations that change an optimizer in place: entries of its parameter groups, step hooks, learning rates.

The training loop, the schedulers and a gradient scaler all hold the optimizer object, so that object has to stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.record.network_changes import Edit, EditTarget
from unvanish.remedies.base import Operation
from unvanish.remedies.hooks.scaled_learning_rate import ConstantRateFactor

PRE_HOOKS = "_optimizer_step_pre_hooks"
POST_HOOKS = "_optimizer_step_post_hooks"
Entries: TypeAlias = Mapping[str, Any]
"""Settings of one group, without its parameters."""


def find_optimizers(network: nn.Module, optimizers: Sequence[Optimizer], *, remedy: str) -> dict[str, Optimizer]:
    """The optimizers that train a parameter of the network, under the names by which edits call them.

    Raises NotApplicable, in the name of `remedy`, where there is none.
    """
    name = type(network).__name__
    if not optimizers:
        raise NotApplicable(f"{remedy}: it changes how {name} is trained, and no optimizer was given; pass optimizer=")
    own_parameters = {id(parameter) for parameter in network.parameters()}
    labels = ["optimizer"] if len(optimizers) == 1 else [f"optimizers[{position}]" for position in range(len(optimizers))]
    trained = {
        label: optimizer
        for label, optimizer in zip(labels, optimizers, strict=True)
        if any(id(parameter) in own_parameters for group in optimizer.param_groups for parameter in group["params"])
    }
    if not trained:
        raise NotApplicable(f"{remedy}: the optimizer trains no parameter of {name}; pass as optimizer= the one that does")
    return trained


@dataclass(frozen=True, slots=True)
class SetEntries(Operation):
    """Writes entries into the parameter groups of an optimizer. What all groups get becomes the optimizer's default too.

    Arguments:
        path: the optimizer's name in edits, from `find_optimizers`.
        optimizer: the optimizer.
        entries: one mapping a group, in the order of the groups; it may be empty.
        before: the settings before, in words, for the edit.
        after: the settings after, in words, for the edit.
    """

    path: str
    optimizer: Optimizer
    entries: tuple[Entries, ...]
    before: str
    after: str

    @property
    def edit(self) -> Edit:
        """The settings that change, before and after."""
        return Edit("set", self.path, self.before, self.after, target=EditTarget.OPTIMIZER)

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Updates the group objects, which stay."""
        del network, optimizers
        for group, entries in zip(self.optimizer.param_groups, self.entries, strict=True):
            group.update(entries)
        for name, value in self.entries[0].items():
            if name in self.optimizer.defaults and all(name in group and group[name] is value for group in self.entries):
                self.optimizer.defaults[name] = value


def set_entries(path: str, optimizer: Optimizer, entries: Sequence[Entries]) -> SetEntries:
    """The operation that writes `entries`, one mapping a group, into the groups of an optimizer; a mapping may be empty."""
    present = [{key: group.get(key) for key in new} for group, new in zip(optimizer.param_groups, entries, strict=True)]
    name = type(optimizer).__name__
    before, after = f"{name}({format_entries(present)})", f"{name}({format_entries(entries)})"
    return SetEntries(path, optimizer, tuple(entries), before, after)


def format_entries(entries: Sequence[Entries]) -> str:
    """The settings of several groups as text, each name once.

    Example:
        >>> format_entries([{"lr": 0.1, "momentum": 0.9}, {"lr": 0.01, "momentum": 0.9}])
        'lr=0.1 | 0.01, momentum=0.9'
    """
    names = dict.fromkeys(name for group in entries for name in group if name != "initial_lr")
    values = {name: dict.fromkeys(_format_value(group[name]) for group in entries if name in group) for name in names}
    return ", ".join(f"{name}={' | '.join(distinct)}" for name, distinct in values.items())


def _format_value(value: Any) -> str:
    if isinstance(value, Tensor):
        value = float(value)
    if not isinstance(value, float):
        return repr(value)
    rounded = f"{value:.3g}"
    return rounded if float(rounded) == value else repr(value)


@dataclass(frozen=True, slots=True)
class AddStepHooks(Operation):
    """Registers hooks that an optimizer calls before and after each of its steps.

    Hooks that are added later run later before a step and earlier after it, so that each finds things as it left them.

    Arguments:
        path: the optimizer's name in edits, from `find_optimizers`.
        optimizer: the optimizer.
        before_step: hook of an importable class, as for `Optimizer.register_step_pre_hook`.
        after_step: hook as for `Optimizer.register_step_post_hook`; or None.
        description: what the steps do from now on, for the edit.
    """

    path: str
    optimizer: Optimizer
    before_step: Callable[..., Any]
    after_step: Callable[..., Any] | None
    description: str

    @property
    def edit(self) -> Edit:
        """The optimizer without and with the hooks."""
        name = type(self.optimizer).__name__
        return Edit("insert", self.path, name, f"{name}, {self.description}", target=EditTarget.OPTIMIZER)

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Registers the hooks."""
        del network, optimizers
        self.optimizer.register_step_pre_hook(self.before_step)
        if self.after_step is not None:
            handle = self.optimizer.register_step_post_hook(self.after_step)
            vars(self.optimizer)[POST_HOOKS].move_to_end(handle.id, last=False)


def find_hooks(optimizer: Optimizer, hook_class: type[Any]) -> tuple[Any, ...]:
    """The step hooks of an optimizer that are objects of a class, or methods of such objects."""
    hooks = [getattr(hook, "__self__", hook) for hook in vars(optimizer)[PRE_HOOKS].values()]
    return tuple(hook for hook in hooks if isinstance(hook, hook_class))


def has_scheduler(optimizer: Optimizer) -> bool:
    """Whether one of torch's learning-rate schedulers has been built for the optimizer; it marks the optimizer's `step`."""
    return bool(getattr(vars(optimizer).get("step"), "_wrapped_by_lr_sched", False))


def intended_rates(optimizer: Optimizer) -> tuple[float, ...]:
    """The learning rate of every group: where there is a scheduler, the rate it starts from; times the factors of our own hooks."""
    key = "initial_lr" if has_scheduler(optimizer) else "lr"
    rates = [float(group.get(key, group["lr"])) for group in optimizer.param_groups]
    for hook in find_hooks(optimizer, ConstantRateFactor):
        rates = [rate * hook.factor(position) for position, rate in enumerate(rates)]
    return tuple(rates)


def scale_rates(optimizer: Optimizer, largest: float) -> tuple[float, ...]:
    """A learning rate for every group, in the proportions of the present ones, of which `largest` is the largest.

    All are `largest` where the present ones are zero.
    """
    present_rates = intended_rates(optimizer)
    present_largest = max(present_rates)
    return tuple(largest * rate / present_largest if present_largest else largest for rate in present_rates)


def set_rates(path: str, optimizer: Optimizer, new_rates: Sequence[float]) -> Operation:
    """The operation that sets the learning rate of every group.

    A scheduler keeps the rates that it was built with, and writes multiples of them into the groups. Where there is one, the
    groups keep its rates, and each step takes them times a factor.
    """
    present_rates = intended_rates(optimizer)
    if has_scheduler(optimizer) and all(present_rates):
        factors = tuple(new / old for new, old in zip(new_rates, present_rates, strict=True))
        factors_text = " | ".join(dict.fromkeys(f"{factor:.3g}" for factor in factors))
        hook = ConstantRateFactor(factors)
        description = f"each step at {factors_text} times the scheduler's rate"
        return AddStepHooks(path, optimizer, hook.before_step, hook.after_step, description)
    entries = [rate_entries(group, rate) for group, rate in zip(optimizer.param_groups, new_rates, strict=True)]
    return set_entries(path, optimizer, entries)


def rate_entries(group: Entries, rate: float) -> dict[str, Any]:
    """The entries that set the learning rate of a group; where the present one is a tensor, a new tensor like it."""
    keys = [key for key in ("lr", "initial_lr") if key in group]
    return {key: torch.full_like(group[key], rate) if isinstance(group[key], Tensor) else rate for key in keys}
