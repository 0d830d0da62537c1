"""What a remedy is: it plans operations on a network, and says so when it cannot. Nothing here alters anything.

A remedy decides; an operation acts; the snapshot that is taken before the first operation undoes. So a remedy never
writes its own way back, and cannot get it wrong.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unvanish.record.change import Edit

FAMILIES = ("activation", "initialisation", "normalisation", "architecture", "optimisation", "data", "output")


@dataclass(frozen=True, slots=True)
class Context:
    """What a remedy may use besides the network.

    `optimizers` own the network's parameters, where the caller gave them. `inputs` is one example batch (a tensor, a tuple
    of positional or a dict of keyword arguments) or None, and `loss` takes what the network makes of it to one number, or is
    None. `generator` is the remedy's own, on the CPU, freshly seeded: the only source of random numbers that a remedy uses.
    """

    generator: torch.Generator
    optimizers: tuple[Optimizer, ...] = ()
    inputs: Any = None
    loss: Callable[[Any], Tensor] | None = None


class Operation(ABC):
    """One decided alteration of one network. It may touch only what a snapshot restores: modules, tensors, optimizers."""

    @property
    @abstractmethod
    def edit(self) -> Edit:
        """The alteration as a person would read it."""

    @abstractmethod
    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Alters the network in place, and keeps the optimizers in step with it."""


class Remedy(ABC):
    """A change that treats findings. The docstring of a concrete class is its card: what a person reads before taking it.

    A card has these headings, each at the start of a line: `Does:`, `Helps:`, `Harms:`, `Cost:`, `References:`.
    """

    name: ClassVar[str]
    """The public name, such as "he-init"."""
    family: ClassVar[str]
    """One of FAMILIES."""
    summary: ClassVar[str]
    """One line for a list of remedies."""
    treats: ClassVar[tuple[str, ...]]
    """The codes of the findings that it can cure."""
    alters_loss: ClassVar[bool] = False
    """Whether the training loss means something else afterwards, so that it cannot be compared with the loss before."""

    @abstractmethod
    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """The operations that would apply this remedy, in order and at least one. Alters nothing, draws nothing.

        Raises NotApplicable, with the reason and what to do instead, where the remedy cannot act on this network.
        """
