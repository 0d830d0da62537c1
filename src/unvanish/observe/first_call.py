"""What an exact look at the first step needs: the network that was called, with what, and the gradients at its outputs.

It keeps these for one step and runs nothing: who looks is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from unvanish.record.change import ModuleOrigin
from unvanish.record.examination import Examination
from unvanish.record.structure import Entry, Location


@dataclass(slots=True)
class FirstCall:
    """One call of a network. `seeds` are the gradients at its output's tensors, by their place among the tensors of the output.

    `casts` are the device types whose automatic casting was on, with the type cast to. `births` gives the line that built a module,
    by its path; `others` are the modules that live outside of it. `optimizers` own the network's parameters, as far as they have
    made themselves known; `entry` is where a change can enter the program.
    """

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    casts: tuple[tuple[str, torch.dtype], ...]
    seeds: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    births: dict[str, Location | None] = field(default_factory=dict[str, "Location | None"])
    others: tuple[ModuleOrigin, ...] = ()
    optimizers: tuple[Optimizer, ...] = ()
    entry: Entry | None = None


Look = Callable[[FirstCall], "Examination | None"]


class FirstCallRecorder:
    """Owner of the step in progress. `called` takes in its outermost module calls, of which the first with a gradient counts."""

    def __init__(self) -> None:
        self._seen: list[FirstCall] = []
        self._handles: list[Any] = []

    def called(self, model: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """A network has run: its outputs will tell what gradient reaches them."""
        casts = tuple((kind, torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind))
        seen = FirstCall(model, args, kwargs, casts)
        tensors = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
        for place, tensor in enumerate(tensors):
            if tensor.requires_grad and tensor.grad_fn is not None:
                self._handles.append(tensor.register_hook(_keeper(seen.seeds, place)))
        self._seen.append(seen)

    def take(self) -> FirstCall | None:
        """The first call whose outputs got a gradient; everything else is forgotten."""
        found = next((seen for seen in self._seen if seen.seeds), None)
        for handle in self._handles:
            handle.remove()
        self._seen, self._handles = [], []
        return found


def _keeper(seeds: dict[int, Tensor], place: int) -> Callable[[Tensor], None]:
    def keep(gradient: Tensor) -> None:
        seeds[place] = gradient.detach()

    return keep
