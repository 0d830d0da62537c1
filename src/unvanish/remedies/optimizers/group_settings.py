"""What remedies do to an optimizer, in place: set its groups, give it hooks, change its rates. It takes no step.

The training loop, the schedulers and a gradient scaler all hold the optimizer object, so that object has to stay. What is
altered here, a snapshot restores: entries of the groups, the defaults, and the hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.record.change import Edit
from unvanish.remedies.base import Operation
from unvanish.remedies.hooks.scaled_learning_rate import ScaledRate

PRE_HOOKS = "_optimizer_step_pre_hooks"
POST_HOOKS = "_optimizer_step_post_hooks"
Entries: TypeAlias = Mapping[str, Any]
"""Settings of one group, without its parameters."""


def trained_by(network: nn.Module, optimizers: Sequence[Optimizer], *, remedy: str) -> dict[str, Optimizer]:
    """The optimizers that train a parameter of the network, under the names by which edits call them.

    Raises NotApplicable, in the name of `remedy`, where there is none.
    """
    name = type(network).__name__
    if not optimizers:
        raise NotApplicable(f"{remedy}: it changes how {name} is trained, and no optimizer was given; pass optimizer=")
    own = {id(parameter) for parameter in network.parameters()}
    labels = ["optimizer"] if len(optimizers) == 1 else [f"optimizers[{at}]" for at in range(len(optimizers))]
    found = {
        label: optimizer
        for label, optimizer in zip(labels, optimizers, strict=True)
        if any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"])
    }
    if not found:
        raise NotApplicable(f"{remedy}: the optimizer trains no parameter of {name}; pass as optimizer= the one that does")
    return found


@dataclass(frozen=True, slots=True)
class Set(Operation):
    """Writes entries into the groups of an optimizer, one mapping a group. What all groups get becomes the default too."""

    path: str
    optimizer: Optimizer
    entries: tuple[Entries, ...]
    before: str
    after: str

    @property
    def edit(self) -> Edit:
        """The optimizer, and the settings that change."""
        return Edit("set", self.path, self.before, self.after)

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Writes them; the group objects stay."""
        del network, optimizers
        for group, entries in zip(self.optimizer.param_groups, self.entries, strict=True):
            group.update(entries)
        for name, value in self.entries[0].items():
            if name in self.optimizer.defaults and all(name in each and each[name] is value for each in self.entries):
                self.optimizer.defaults[name] = value


def set_groups(path: str, optimizer: Optimizer, entries: Sequence[Entries]) -> Set:
    """The operation that writes the entries, of which some groups may get none, and its edit."""
    present = [{name: group.get(name) for name in each} for group, each in zip(optimizer.param_groups, entries, strict=True)]
    kind = type(optimizer).__name__
    return Set(path, optimizer, tuple(entries), f"{kind}({spelled(present)})", f"{kind}({spelled(entries)})")


def spelled(entries: Sequence[Entries]) -> str:
    """Settings of several groups as a person would write them, a name once: "lr=0.1, momentum=0.9", "lr=0.1 | 0.01"."""
    names = dict.fromkeys(name for each in entries for name in each if name != "initial_lr")
    values = {name: dict.fromkeys(_value(each[name]) for each in entries if name in each) for name in names}
    return ", ".join(f"{name}={' | '.join(several)}" for name, several in values.items())


def _value(value: Any) -> str:
    if isinstance(value, Tensor):
        value = float(value)
    if not isinstance(value, float):
        return repr(value)
    short = f"{value:.3g}"
    return short if float(short) == value else repr(value)


@dataclass(frozen=True, slots=True)
class Attach(Operation):
    """Has an optimizer call hooks of an importable class before and after each of its steps.

    Later hooks are called later before a step and earlier after it, so that each finds things as it left them.
    """

    path: str
    optimizer: Optimizer
    before_step: Callable[..., Any]
    after_step: Callable[..., Any] | None
    described: str

    @property
    def edit(self) -> Edit:
        """The optimizer, and what its steps do from now on."""
        kind = type(self.optimizer).__name__
        return Edit("insert", self.path, kind, f"{kind}, {self.described}")

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Registers the hooks."""
        del network, optimizers
        self.optimizer.register_step_pre_hook(self.before_step)
        if self.after_step is not None:
            handle = self.optimizer.register_step_post_hook(self.after_step)
            vars(self.optimizer)[POST_HOOKS].move_to_end(handle.id, last=False)


def attached(optimizer: Optimizer, kind: type[Any]) -> tuple[Any, ...]:
    """The hooks before a step that are of a class of ours, or methods of an object of that class."""
    hooks = [getattr(hook, "__self__", hook) for hook in vars(optimizer)[PRE_HOOKS].values()]
    return tuple(hook for hook in hooks if isinstance(hook, kind))


def is_scheduled(optimizer: Optimizer) -> bool:
    """Whether a scheduler of torch has been built for the optimizer: it leaves its mark on the `step` of that object."""
    return bool(getattr(vars(optimizer).get("step"), "_wrapped_by_lr_sched", False))


def rates(optimizer: Optimizer) -> tuple[float, ...]:
    """The learning rate of every group as it is meant: the one that a scheduler starts from, where there is one."""
    name = "initial_lr" if is_scheduled(optimizer) else "lr"
    plain = [float(group.get(name, group["lr"])) for group in optimizer.param_groups]
    for hook in attached(optimizer, ScaledRate):
        plain = [rate * hook.factor(at) for at, rate in enumerate(plain)]
    return tuple(plain)


def proportional(optimizer: Optimizer, largest: float) -> tuple[float, ...]:
    """Rates of which the largest is as given, in the proportions of the present ones; all the same where those are zero."""
    present = rates(optimizer)
    top = max(present)
    return tuple(largest * rate / top if top else largest for rate in present)


def set_rates(path: str, optimizer: Optimizer, wanted: Sequence[float]) -> Operation:
    """The operation that makes the learning rates of the groups what is wanted.

    A scheduler keeps the rates that it was built with, and writes what it makes of them into the groups. Where there is one,
    the rates in the groups stay its own, and each step takes them times a factor.
    """
    present = rates(optimizer)
    if is_scheduled(optimizer) and all(present):
        factors = tuple(new / old for new, old in zip(wanted, present, strict=True))
        told = " | ".join(dict.fromkeys(f"{factor:.3g}" for factor in factors))
        hook = ScaledRate(factors)
        return Attach(path, optimizer, hook.before_step, hook.after_step, f"each step at {told} times the scheduler's rate")
    return set_groups(
        path, optimizer, [rate_entries(group, new) for group, new in zip(optimizer.param_groups, wanted, strict=True)]
    )


def rate_entries(group: Entries, rate: float) -> dict[str, Any]:
    """The entries that give a group its rate; where the rate is a tensor, a new one like it."""
    names = [name for name in ("lr", "initial_lr") if name in group]
    return {name: torch.full_like(group[name], rate) if isinstance(group[name], Tensor) else rate for name in names}
