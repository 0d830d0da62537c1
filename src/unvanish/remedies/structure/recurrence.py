"""Finds recurrent modules and hand-written loops in a network, and replaces torch's vanilla recurrent modules.

A vanilla recurrent module can be replaced where it is of torch's own class (a subclass may do anything) and trainable, and where
all its weights are its own: not computed from others (weight_norm), not shared with another kind of layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from unvanish.network.module_kinds import WEIGHTED
from unvanish.record.network_changes import Edit
from unvanish.remedies.base import Operation
from unvanish.remedies.edits.module_edits import Fill, Initialise, Place, Replace
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.signal_kinds import Kind
from unvanish.remedies.optimizers.parameter_groups import add_parameters

VanillaModule: TypeAlias = nn.RNN | nn.RNNCell
GatedModule: TypeAlias = nn.LSTM | nn.LSTMCell | nn.GRU | nn.GRUCell

VANILLA_CLASSES = (nn.RNN, nn.RNNCell)
GATED_CLASSES = (nn.LSTM, nn.LSTMCell, nn.GRU, nn.GRUCell)
MAX_NAMED = 3
"""How many items a message names."""


@dataclass(frozen=True, slots=True)
class LayerParameters:
    """The parameters of one layer of a recurrent module in one direction: two matrices, and two biases where it has them."""

    weight_ih: nn.Parameter | None
    weight_hh: nn.Parameter | None
    bias_ih: nn.Parameter | None
    bias_hh: nn.Parameter | None


def layer_parameters(module: nn.RNNBase | nn.RNNCellBase) -> tuple[LayerParameters, ...]:
    """The parameters of each layer of a module, from the input on, forward direction first.

    A weight that torch computes from others (weight_norm) is None.
    """
    parameters = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    return tuple(
        LayerParameters(*(parameters.get(name + suffix) for name in _parameter_roots(bias=True)))
        for suffix in _parameter_suffixes(module)
    )


def replaceable_vanilla_modules(network: nn.Module) -> tuple[tuple[str, VanillaModule], ...]:
    """The vanilla recurrent modules that can be replaced, with their paths, in order of registration."""
    foreign_ids = _foreign_parameter_ids(network)
    return tuple(
        (path, m)
        for path, m in network.named_modules()
        if isinstance(m, VANILLA_CLASSES) and not _reason_not_replaceable(m, foreign_ids)
    )


def reasons_not_replaceable(network: nn.Module) -> tuple[str, ...]:
    """For each vanilla recurrent module that cannot be replaced, its path and the reason, as text for a message."""
    foreign_ids = _foreign_parameter_ids(network)
    reasons = (
        (path, _reason_not_replaceable(m, foreign_ids)) for path, m in network.named_modules() if isinstance(m, VANILLA_CLASSES)
    )
    return tuple(f"{format_path(path)} {reason}" for path, reason in reasons if reason)


def gated_modules(network: nn.Module) -> tuple[tuple[str, GatedModule], ...]:
    """The LSTMs and GRUs, subclasses too, with their paths."""
    return tuple((path, m) for path, m in network.named_modules() if isinstance(m, GATED_CLASSES))


def layers_in_loops(graph: ForwardGraph, *, direct: bool) -> tuple[nn.Module, ...]:
    """The weighted layers that run again on a signal that depends on their own earlier result: a hand-written recurrence.

    Arguments:
        graph: the forward graph; an untraced one has no such layers.
        direct: whether to count only layers with no other weighted layer between the two runs.
    """
    looping: list[nn.Module] = []
    for module, positions in graph.module_positions.items():
        if (
            isinstance(module, WEIGHTED)
            and len(positions) > 1
            and graph.is_traced
            and _feeds_itself(graph, set(positions), direct=direct)
        ):
            looping.append(module)
    return tuple(looping)


@dataclass(frozen=True, slots=True)
class ReplacedRecurrence(Operation):
    """Replaces a vanilla recurrent module in all of its `places`, and initialises the new module with `fills`.

    A new parameter joins the optimizer and group of the old parameter of its name. Parameters that leave the network leave the
    optimizers too.
    """

    path: str
    old: VanillaModule
    new: nn.RNNBase | nn.RNNCellBase
    places: tuple[Place, ...]
    fills: tuple[tuple[nn.Parameter, Fill], ...] = ()

    @property
    def edit(self) -> Edit:
        """The old and the new module at the path."""
        return Edit("replace", self.path, format_module(self.old), format_module(self.new))

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Adds the new parameters to the optimizers, replaces the module, and initialises the new one."""
        old_parameters = dict(self.old.named_parameters(remove_duplicate=False))
        owned = {p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in self.new.named_parameters():
            if parameter not in owned:
                add_parameters({f"{self.path}.{name}": parameter}, optimizers, trained_with=(old_parameters[name],))
        Replace(self.path, self.old, self.new, self.places).perform(network, optimizers)
        Initialise(self.path, "", "", self.fills).perform(network, optimizers)


def create_uninitialised(kind: Callable[..., nn.RNNBase | nn.RNNCellBase], old: VanillaModule, **settings: Any) -> Any:
    """A module of class `kind` with the sizes, settings, device, dtype and flags of `old`, and uninitialised parameters.

    It is constructed on the meta device, since torch's constructors would otherwise draw from the program's random state.
    """
    reference = next(old.parameters())
    settings |= {"bias": old.bias, "device": "meta", "dtype": reference.dtype}
    if isinstance(old, nn.RNN):
        settings |= {"num_layers": old.num_layers, "batch_first": old.batch_first, "bidirectional": old.bidirectional}
    new = kind(old.input_size, old.hidden_size, **settings).to_empty(device=reference.device)
    if isinstance(old, nn.RNN) and isinstance(new, nn.RNNBase):
        new.dropout = old.dropout  # the constructor would warn of it again where there is one layer
    for name, parameter in old.named_parameters(remove_duplicate=False):
        new.get_parameter(name).requires_grad_(parameter.requires_grad)
    return new


def tie_parameters(new: nn.Module, old: nn.Module, new_by_old: dict[nn.Parameter, nn.Parameter]) -> None:
    """Ties the parameters of a new module as those of the old one were tied.

    `new_by_old` maps old parameters to new ones over several modules; this adds to it.
    """
    for name, parameter in old.named_parameters(remove_duplicate=False):
        new_parameter = new.get_parameter(name)
        existing = new_by_old.setdefault(parameter, new_parameter)
        if existing is not new_parameter:
            setattr(new, name, existing)


def format_module(module: nn.Module) -> str:
    """A module's repr, with the nonlinearity that the repr of nn.RNN leaves out."""
    text = repr(module)
    return f"{text[:-1]}, nonlinearity='relu')" if isinstance(module, nn.RNN) and module.mode == "RNN_RELU" else text


def format_path(path: str) -> str:
    """A module's path as text for a message."""
    return repr(path) if path else "the network itself"


def format_list(items: Sequence[str]) -> str:
    """A list as text for a message: its first MAX_NAMED items, and how many more there are."""
    return ", ".join(items[:MAX_NAMED]) + (f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else "")


def _feeds_itself(graph: ForwardGraph, positions: set[int], *, direct: bool) -> bool:
    """Whether a step at one of the positions depends on another of them."""
    dependent_positions: set[int] = set()
    for position, step in enumerate(graph.steps):
        is_dependent = any(
            source in positions or (source in dependent_positions and not (direct and graph.steps[source].kind is Kind.WEIGHT))
            for source in step.sources
        )
        if is_dependent and position in positions:
            return True
        if is_dependent:
            dependent_positions.add(position)
    return False


def _reason_not_replaceable(module: VanillaModule, foreign_ids: set[int]) -> str:
    """Why a module cannot be replaced; empty where it can."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    expected_names = {name + suffix for name in _parameter_roots(bias=module.bias) for suffix in _parameter_suffixes(module)}
    if type(module) not in VANILLA_CLASSES and not parametrize.is_parametrized(module):
        return f"is a class of its own ({type(module).__name__})"
    if set(parameters) != expected_names:
        return "has weights that are computed from other parameters (weight_norm, spectral_norm)"
    if not any(p.requires_grad for p in parameters.values()):
        return "is frozen"
    return "shares a weight with another kind of layer" if any(id(p) in foreign_ids for p in parameters.values()) else ""


def _foreign_parameter_ids(network: nn.Module) -> set[int]:
    return {id(p) for m in network.modules() if type(m) not in VANILLA_CLASSES for p in m.parameters(recurse=False)}


def _parameter_roots(*, bias: bool) -> tuple[str, ...]:
    """The names of one layer's parameters in torch, without the layer's number."""
    return ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if bias else ("weight_ih", "weight_hh")


def _parameter_suffixes(module: nn.RNNBase | nn.RNNCellBase) -> tuple[str, ...]:
    """The suffixes that torch adds to these names, for each layer and direction."""
    if isinstance(module, nn.RNNCellBase):
        return ("",)
    directions = ("", "_reverse") if module.bidirectional else ("",)
    return tuple(f"_l{layer}{direction}" for layer in range(module.num_layers) for direction in directions)
