"""The base classes of a remedy: `Remedy` plans, `Operation` alters the network, `Context` is what a plan may use.

Undo is not the remedy's work: `apply` takes a snapshot of network and optimizers before the first operation, and restores it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unvanish.record.network_changes import Edit

FAMILIES = ("activation", "initialisation", "normalisation", "architecture", "optimisation", "data", "output")
"""The values that `Remedy.family` may have."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a remedy may use besides the network.

    Arguments:
        generator: the only source of random numbers for a remedy: its own, on the CPU, freshly seeded. Operations draw from it
            when they are performed; a plan does not.
        optimizers: those that train the network's parameters; empty where the caller gave none.
        inputs: one example batch as the network takes it (a tensor, a tuple of positional or a dict of keyword arguments), or
            None. Run it through a copy (`remedies.graph.model_copy`), never through the network itself.
        loss: a function from the network's outputs to one number, a tensor with a gradient; or None.
    """

    generator: torch.Generator
    optimizers: tuple[Optimizer, ...] = ()
    inputs: Any = None
    loss: Callable[[Any], Tensor] | None = None


class Operation(ABC):
    """One planned alteration of one network.

    It may alter only what a snapshot restores: the modules of the network (class, attributes, parameters, buffers, hooks), the
    values of its tensors, and the optimizers (class, attributes, groups, state, hooks). Ready-made operations are in
    `remedies.edits` (replace a module, rewrite a call, initialise parameters) and `remedies.optimizers`.
    """

    @property
    @abstractmethod
    def edit(self) -> Edit:
        """The alteration in words, for reports and patches; read before `perform` is called."""

    @abstractmethod
    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Alters the network in place, and the optimizers with it: they train new parameters, and drop those that are gone.

        Arguments:
            network: the network that the operation was planned for, with all operations before this one performed.
            optimizers: as in `Context`.
        """


class Remedy(ABC):
    """A change that treats findings, by name. Subclass it, and hand an instance to `apply` in a catalogue or by entry point.

    The docstring of a concrete class is its card, which users read before they apply it. A card has these headings, each at the
    start of a line: `Does:`, `Helps:`, `Harms:`, `Cost:`, `References:`.

    Example:
        A remedy that freezes the first layer, applied and undone:

        >>> from torch import nn
        >>> from unvanish.errors import NotApplicable
        >>> from unvanish.record.network_changes import Edit
        >>> from unvanish.remedies import Operation, Remedy, apply
        >>> class Freeze(Operation):
        ...     def __init__(self, path, layer):
        ...         self.path, self.layer = path, layer
        ...
        ...     @property
        ...     def edit(self):
        ...         return Edit("set", self.path, "trainable", "frozen")
        ...
        ...     def perform(self, network, optimizers):
        ...         self.layer.requires_grad_(False)
        >>> class FreezeFirst(Remedy):
        ...     name, family, summary = "freeze-first", "optimisation", "no training of the first layer"
        ...     treats = ("exploding-gradient",)
        ...
        ...     def plan(self, network, context):
        ...         for path, layer in network.named_modules():
        ...             if isinstance(layer, nn.Linear):
        ...                 return (Freeze(path, layer),)
        ...         raise NotApplicable(f"{self.name}: {type(network).__name__} has no Linear layer; choose another remedy")
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        >>> change = apply(network, "freeze-first", catalogue={"freeze-first": FreezeFirst()})
        >>> [(edit.action, edit.path, edit.before, edit.after) for edit in change.edits]
        [('set', '0', 'trainable', 'frozen')]
        >>> network[0].weight.requires_grad
        False
        >>> change.undo()
        >>> network[0].weight.requires_grad
        True
    """

    name: ClassVar[str]
    """The public name, such as "he-init"."""
    family: ClassVar[str]
    """One of FAMILIES."""
    summary: ClassVar[str]
    """One line for a list of remedies."""
    treats: ClassVar[tuple[str, ...]]
    """The codes of the findings that it can cure, such as "vanishing-gradient"."""
    alters_loss: ClassVar[bool] = False
    """Whether the training loss means something else afterwards, so that it cannot be compared with the loss before."""

    @abstractmethod
    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """The operations that would apply this remedy, in order and at least one.

        A plan may read network and optimizers, trace the network (`remedies.graph.trace_graph`), and run copies of it. It may not
        alter the network, the optimizers or any random state, run the network itself (its hooks would run too), or draw from
        `context.generator`. New modules that operations will put in may be built here.

        Arguments:
            network: the network without wrappers such as DataParallel, every parameter with a shape.
            context: optimizers, example batch, loss and random generator.

        Raises:
            NotApplicable: the remedy cannot act on this network, or has nothing left to do. The message begins with the remedy's
                name, and says why and what to do instead.
            UsageError: `context.inputs` cannot be run through the network, or `context.loss` makes no number of its outputs.
        """
