"""What remedies would do to a live network, found out on a copy. The network, its optimizers and the random state stay as they were."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from unvanish.errors import UnvanishError
from unvanish.record.treatment import Plan, Step
from unvanish.remedies.apply import apply
from unvanish.remedies.lookup import Shelf


def planned(
    model: nn.Module,
    names: Sequence[str],
    *,
    optimizers: Sequence[Optimizer] = (),
    inputs: Any = None,
    loss: Any = None,
    shelf: Shelf | None = None,
) -> Plan:
    """The edits of the remedies, taken in this order; or why one of them cannot act.

    `inputs` and `loss` are as for `apply`. Cost: a copy of the network and of its optimizers.
    """
    try:
        double, doubles = copy.deepcopy((model, tuple(optimizers)))
        steps = tuple(
            Step(name, apply(double, name, optimizer=doubles, inputs=inputs, loss=loss, shelf=shelf).edits) for name in names
        )
    except UnvanishError as why:
        return Plan(tuple(names), refusal=_without_name(str(why), names))
    except (RuntimeError, TypeError, NotImplementedError) as why:  # what cannot be copied or run apart from its program
        return Plan(tuple(names), refusal=f"it could not be planned on a copy of the network ({type(why).__name__}: {why})")
    return Plan(tuple(names), steps)


def _without_name(text: str, names: Sequence[str]) -> str:
    for name in names:
        text = text.removeprefix(f"{name}: ")
    return text
