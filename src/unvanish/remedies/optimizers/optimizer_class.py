"""Makes an optimizer one of another kind, in place, so that all who hold it go on with it. It takes no step.

The groups stay, with their order, parameters, names and what schedulers keep in them. Hooks stay too. Gathered state goes: it
would mean something else to the new kind.
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
from unvanish.record.change import Edit
from unvanish.remedies.base import Operation
from unvanish.remedies.hooks.scaled_learning_rate import WARMED
from unvanish.remedies.optimizers.settings import Entries, is_scheduled, rate_entries, set_rates, spelled

# A rate of theirs is about the size of a step, whatever the size of the gradient.
RELATIVE = (Adam, NAdam, RAdam, Adamax, RMSprop, SparseAdam)

SHARED = ("params", "param_names", "initial_lr", WARMED)
"""Entries of a group that belong to no kind of optimizer."""

BETAS, EPS, WEIGHT_DECAY = (0.9, 0.999), 1e-8, 0.01
"""AdamW's defaults in torch; betas and eps are those of Kingma 2015, arXiv 1412.6980, algorithm 1."""

# What fused optimizers tell a gradient scaler about themselves: not true of the next kind.
_OF_FUSED = ("_step_supports_amp_scaling", "_need_device_dtype_check_for_fused", "grad_scale", "found_inf")


def is_relative(optimizer: Optimizer) -> bool:
    """Whether the learning rate of the optimizer is about the size of its steps, as Adam's is."""
    return isinstance(optimizer, RELATIVE) or "adam" in type(optimizer).__name__.lower()


def require_wide(optimizer: Optimizer, *, remedy: str) -> None:
    """Raises NotApplicable, in the name of `remedy`, where parameters are float16: Adam's epsilon of 1e-8 is zero there."""
    if any(parameter.dtype is torch.float16 for group in optimizer.param_groups for parameter in group["params"]):
        raise NotApplicable(
            f"{remedy}: Adam's epsilon of 1e-8 is zero in float16, so that a unit without gradient would be divided by zero; keep "
            "the parameters in float32, and compute in float16 under torch.autocast"
        )


def require_exchangeable(optimizer: Optimizer, network: nn.Module, *, remedy: str) -> None:
    """Raises NotApplicable, in the name of `remedy`, where the optimizer cannot become one of another kind in place."""
    kind = type(optimizer).__name__
    if isinstance(optimizer, LBFGS):
        raise NotApplicable(f"{remedy}: LBFGS runs the training loop from inside its step; build another optimizer by hand")
    sparse = [path for path, m in network.named_modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag)) and m.sparse]
    if isinstance(optimizer, SparseAdam) or sparse:
        where = f" of {sparse[0]!r}" if sparse else ""
        raise NotApplicable(f"{remedy}: the gradients{where} are sparse, which few optimizers take; use sparse=False there first")
    if any(isinstance(value, Optimizer) for value in vars(optimizer).values()):
        raise NotApplicable(f"{remedy}: {kind} wraps another optimizer; apply the remedy to that one, before it is wrapped")
    if "step" in vars(optimizer) and not is_scheduled(optimizer):
        raise NotApplicable(
            f"{remedy}: the step of this {kind} has been replaced by other code, which would go on to run the old one; "
            "apply the remedy directly after the optimizer is built"
        )


@dataclass(frozen=True, slots=True)
class Exchange(Operation):
    """Gives an optimizer the class `kind`, with `entries` for each of its groups and some `attributes` of its own."""

    path: str
    optimizer: Optimizer
    kind: type[Optimizer]
    entries: tuple[Entries, ...]
    before: str
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def edit(self) -> Edit:
        """What stood there, and what stands there now."""
        return Edit("replace", self.path, self.before, f"{self.kind.__name__}({spelled(self.entries)})")

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Changes class, settings and groups; then torch fills in the options that are not set, as when it unpickles."""
        del network, optimizers
        optimizer, scheduled = self.optimizer, is_scheduled(self.optimizer)
        for name in (*_OF_FUSED, "step"):
            vars(optimizer).pop(name, None)
        for group, entries in zip(optimizer.param_groups, self.entries, strict=True):
            if not scheduled:  # one that turns momentum up and down looks for the entries that it knows
                for name in [name for name in group if name not in (*SHARED, *entries)]:
                    del group[name]
            group.update(entries)
        optimizer.state.clear()
        optimizer.__class__ = self.kind
        optimizer.defaults = {}
        optimizer.__setstate__(dict(self.attributes))
        first = optimizer.param_groups[0]
        optimizer.defaults = {name: value for name, value in first.items() if name not in SHARED}
        if scheduled:
            vars(optimizer)["step"] = _announced(optimizer)


def exchanged(
    path: str,
    optimizer: Optimizer,
    kind: type[Optimizer],
    entries: Sequence[Entries],
    *,
    rates: Sequence[float] | None = None,
    **attributes: Any,
) -> tuple[Operation, ...]:
    """The operations that make the optimizer one of `kind`, with the rates that are wanted, or its own.

    The groups keep what they maximise. Entries hold no rate.
    """
    groups = optimizer.param_groups
    plain = rates is not None and not is_scheduled(optimizer)
    paces = (
        [rate_entries(group, rate) for group, rate in zip(groups, rates or (), strict=True)]
        if plain
        else [{"lr": group["lr"]} for group in groups]
    )
    full = [
        {**pace, **each, "maximize": bool(group.get("maximize", False))}
        for group, pace, each in zip(groups, paces, entries, strict=True)
    ]
    shown = [{name: group[name] for name in ("lr", "momentum", "weight_decay") if group.get(name)} for group in groups]
    before = f"{type(optimizer).__name__}({spelled(shown)})"
    exchange = Exchange(path, optimizer, kind, tuple(full), before, attributes)
    return (exchange,) if plain or rates is None else (exchange, set_rates(path, optimizer, rates))


def _announced(optimizer: Optimizer) -> Callable[..., Any]:
    """A `step` for an optimizer that has a scheduler, which looks whether the optimizer stepped before it did."""
    owner = weakref.ref(optimizer)

    def step(*args: Any, **kwargs: Any) -> Any:
        mine = cast(Any, owner())
        vars(mine)["_opt_called"] = True
        return type(mine).step(mine, *args, **kwargs)

    vars(step)["_wrapped_by_lr_sched"] = True
    return step


def adamw_entries(optimizer: Optimizer) -> list[dict[str, Any]]:
    """AdamW's settings for every group of an optimizer, but for the rate.

    Weight decay is torch's 0.01, and 0 for a group that has none while another has: it was exempted.
    """
    decays = [float(group.get("weight_decay", 0.0)) for group in optimizer.param_groups]
    entries: list[dict[str, Any]] = []
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        betas = group["betas"] if is_relative(optimizer) and "betas" in group else BETAS
        entries.append({"betas": betas, "eps": EPS, "weight_decay": 0.0 if any(decays) and not decay else WEIGHT_DECAY})
    return entries
