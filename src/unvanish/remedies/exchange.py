"""Which activation modules may be exchanged for another, and why the others may not. It alters nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.contract import Operation
from unvanish.remedies.kinds import Kind, op_name
from unvanish.remedies.layout import Layout, Step
from unvanish.remedies.surgery import Replace, places
from unvanish.remedies.survey import survey

NAMED_CALLS = 3
"""How many functional calls a message names before it stops."""


def exchange(
    network: nn.Module, inputs: Any, *, build: Callable[[], nn.Module], remedy: str, keep: tuple[type[nn.Module], ...]
) -> tuple[Operation, ...]:
    """One replacement for each hidden activation module that is none of `keep`; `build` makes the new module.

    Left alone: an activation of the output (no weighted layer comes after it), one whose result gates another signal, and all
    inside recurrent, attention and transformer layers. A module with such a use among others is left alone too. Raises
    NotApplicable, in the name of `remedy`, where nothing is left to exchange.
    """
    layout = survey(network, inputs)
    modules = {id(step.module): step for _, step in layout.activations() if step.module is not None and step.path}
    chosen = [step for step in modules.values() if not isinstance(step.module, keep) and is_exchangeable(step.module, layout)]
    if not chosen:
        raise NotApplicable(f"{remedy}: {_reason(network, layout, keep=keep)}")
    found = places(network)
    return tuple(Replace(step.path, step.module, build(), found[step.module]) for step in chosen if step.module is not None)


def is_exchangeable(module: nn.Module | None, layout: Layout) -> bool:
    """Whether every use of an activation module is hidden, and none is a gate."""
    positions = () if module is None else layout.positions(module)
    return bool(positions) and all(layout.hidden[i] and not layout.is_gate(i) for i in positions)


def _reason(network: nn.Module, layout: Layout, *, keep: tuple[type[nn.Module], ...]) -> str:
    name = type(network).__name__
    if any(step.kind is Kind.ACTIVATION and step.path == "" and step.module is not None for step in layout.steps):
        return f"{name} is itself the activation, so there is no place to put another; give the network that holds it"
    modules = [step for _, step in layout.activations() if step.module is not None]
    calls = [step for position, step in layout.activations() if step.module is None and layout.hidden[position]]
    if any(isinstance(step.module, keep) for step in modules):
        return (
            f"every hidden activation module of {name} is {_kinds(modules, keep)} already, or must stay; nothing is left to replace"
        )
    if calls and {step.op for step in calls} <= {op_name(kind.__name__) for kind in keep}:
        return f"the activations of {name} need no replacement ({_described(calls)}, called inside forward)"
    if calls:
        return (
            f"the activations of {name} are calls inside forward ({_described(calls)}), where there is no module to replace; "
            "write them as modules (self.act = nn.Sigmoid() in __init__, self.act(x) in forward), or change the calls by hand"
        )
    where = ", ".join(repr(step.path) for step in modules[:NAMED_CALLS])
    if modules and layout.traced:
        return f"the activation modules of {name} ({where}) are the output's own or gate another signal, and must stay"
    if modules:
        return (
            f"the forward of {name} could not be traced, and its activation modules ({where}) may run after the last weighted "
            "layer, as the output's own; pass inputs= to have their order checked"
        )
    unseen = "" if layout.traced else " (its forward could not be traced, so calls such as torch.sigmoid(x) cannot be seen)"
    return f"{name} has no activation module{unseen}; those inside recurrent, attention and transformer layers are not exchanged"


def _kinds(modules: list[Step], keep: tuple[type[nn.Module], ...]) -> str:
    return " or ".join(sorted({type(step.module).__name__ for step in modules if isinstance(step.module, keep)}))


def _described(calls: list[Step]) -> str:
    named = list(dict.fromkeys(f"{step.op} in {step.path or 'the network itself'}" for step in calls))
    return ", ".join(named[:NAMED_CALLS]) + (f" and {len(named) - NAMED_CALLS} more" if len(named) > NAMED_CALLS else "")
