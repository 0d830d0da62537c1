"""Keeps the first call of a network in a step, with its arguments and the gradients at its outputs, for an exact examination."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from unvanish.network.autocast import Autocasts, active_autocasts
from unvanish.network.unwrapping import without_data_parallel
from unvanish.observe.structure.model_index import ModelIndex
from unvanish.record.examination import Examination
from unvanish.record.network_changes import ModuleOrigin
from unvanish.record.structure import Entry, Location


@dataclass(slots=True)
class FirstCall:
    """One call of a network.

    `output_gradients` are the gradients at the tensors of its output, by their position among these. `autocasts` are the device
    types whose autocast was on, with the type cast to. `origins` are the lines that built the modules of the network, and
    `outside_modules` lists the modules outside of it. `optimizers` hold parameters of the network, as far as they have stepped.
    `entry` is where a change of the network can enter the program.
    """

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    autocasts: Autocasts
    output_gradients: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    origins: tuple[ModuleOrigin, ...] = ()
    outside_modules: tuple[ModuleOrigin, ...] = ()
    optimizers: tuple[Optimizer, ...] = ()
    entry: Entry | None = None

    @property
    def build_locations(self) -> dict[str, Location | None]:
        """The line that built a module, by the module's path."""
        return {origin.path: origin.location for origin in self.origins}


ExamineFirstCall = Callable[[FirstCall], "Examination | None"]


class FirstCallRecorder:
    """Records the outermost module calls of the step in progress, of which the first one with a gradient is taken."""

    def __init__(self) -> None:
        self._calls: list[FirstCall] = []
        self._handles: list[Any] = []

    def record_call(self, model: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Records a call that has returned, and sets hooks that record the gradients at its outputs."""
        call = FirstCall(without_data_parallel(model), args, kwargs, active_autocasts())
        tensors = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
        for position, tensor in enumerate(tensors):
            if tensor.requires_grad and tensor.grad_fn is not None:
                self._handles.append(tensor.register_hook(_gradient_hook(call.output_gradients, position)))
        self._calls.append(call)

    def take(self, index: ModelIndex) -> FirstCall | None:
        """The first call whose outputs got a gradient, with what is known of its network; None where there is none.

        The other calls and all hooks are released.
        """
        first_call = next((call for call in self._calls if call.output_gradients), None)
        self.discard()
        if first_call is not None:
            model = first_call.model
            first_call.origins, first_call.outside_modules = index.origins(model), index.outside_modules(model)
            first_call.optimizers, first_call.entry = index.optimizers_of(model), index.entry(model)
        return first_call

    def discard(self) -> None:
        """Releases the calls and all hooks."""
        for handle in self._handles:
            handle.remove()
        self._calls, self._handles = [], []


def _gradient_hook(gradients: dict[int, Tensor], position: int) -> Callable[[Tensor], None]:
    def keep(gradient: Tensor) -> None:
        gradients[position] = gradient.detach()

    return keep
