"""Finds recurrence in a network, torch's modules and loops written by hand, and exchanges the modules. It chooses no weights.

A vanilla recurrent module may be touched where it is torch's own class (a subclass may do anything), trainable, and where all its
weights are its own: not computed from others (weight_norm), not shared with another kind of layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from unvanish.record.change import Edit
from unvanish.remedies.base import Operation
from unvanish.remedies.edits.module_edits import Fill, Initialise, Place, Replace
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.kinds import WEIGHTED, Kind
from unvanish.remedies.optimizers.parameters import enrol

Vanilla: TypeAlias = nn.RNN | nn.RNNCell
Gated: TypeAlias = nn.LSTM | nn.LSTMCell | nn.GRU | nn.GRUCell

VANILLA = (nn.RNN, nn.RNNCell)
GATED = (nn.LSTM, nn.LSTMCell, nn.GRU, nn.GRUCell)
NAMED = 3
"""How many modules a message names before it stops."""


@dataclass(frozen=True, slots=True)
class Level:
    """One layer of a recurrent module in one direction: its matrices, and its two biases, where it has them."""

    weight_ih: nn.Parameter | None
    weight_hh: nn.Parameter | None
    bias_ih: nn.Parameter | None
    bias_hh: nn.Parameter | None


def levels(module: nn.RNNBase | nn.RNNCellBase) -> tuple[Level, ...]:
    """The layers of a module, from the input on, forwards before backwards. A weight that torch computes from others is None."""
    own = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    return tuple(Level(*(own.get(name + end) for name in _roles(bias=True))) for end in _endings(module))


def vanilla(network: nn.Module) -> tuple[tuple[str, Vanilla], ...]:
    """The vanilla recurrent modules that may be touched, with their paths, in order of registration."""
    foreign = _foreign(network)
    return tuple((path, m) for path, m in network.named_modules() if isinstance(m, VANILLA) and not _obstacle(m, foreign))


def untouchable(network: nn.Module) -> tuple[str, ...]:
    """The vanilla recurrent modules that may not be touched, each with its path and what forbids it, as a message says it."""
    foreign = _foreign(network)
    reasons = ((path, _obstacle(m, foreign)) for path, m in network.named_modules() if isinstance(m, VANILLA))
    return tuple(f"{shown(path)} {why}" for path, why in reasons if why)


def gated(network: nn.Module) -> tuple[tuple[str, Gated], ...]:
    """The LSTMs and GRUs, subclasses too, with their paths."""
    return tuple((path, m) for path, m in network.named_modules() if isinstance(m, GATED))


def loops(layout: ForwardGraph, *, direct: bool) -> tuple[nn.Module, ...]:
    """The weighted layers that run again on what came of their own earlier result: a recurrence written by hand.

    `direct`: with no other weighted layer on the way.
    """
    found: list[nn.Module] = []
    for module, positions in layout.uses.items():
        if (
            isinstance(module, WEIGHTED)
            and len(positions) > 1
            and layout.traced
            and _returns(layout, set(positions), direct=direct)
        ):
            found.append(module)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Succession(Operation):
    """Puts a recurrent module in all the `places` of an old one, parameter for parameter, with fresh numbers from `fills`.

    A new parameter joins the optimizer and the group that train the old one of its name. Those that leave the network leave the
    optimizers too.
    """

    path: str
    old: Vanilla
    new: nn.RNNBase | nn.RNNCellBase
    places: tuple[Place, ...]
    fills: tuple[tuple[nn.Parameter, Fill], ...] = ()

    @property
    def edit(self) -> Edit:
        """What stood at the path, and what stands there now."""
        return Edit("replace", self.path, spelled(self.old), spelled(self.new))

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Enrols what is new while the old still holds its places, exchanges the module, and draws the numbers."""
        before = dict(self.old.named_parameters(remove_duplicate=False))
        owned = {p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in self.new.named_parameters():
            if parameter not in owned:
                enrol({f"{self.path}.{name}": parameter}, optimizers, beside=(before[name],))
        Replace(self.path, self.old, self.new, self.places).perform(network, optimizers)
        Initialise(self.path, "", "", self.fills).perform(network, optimizers)


def unfilled(kind: Callable[..., nn.RNNBase | nn.RNNCellBase], old: Vanilla, **settings: Any) -> Any:
    """A module of another kind with the sizes, settings, device, dtype and flags of an old one; its numbers are yet to be drawn.

    Torch's constructors draw from the program's own random state, but not for tensors of the meta device, which hold nothing.
    """
    like = next(old.parameters())
    settings |= {"bias": old.bias, "device": "meta", "dtype": like.dtype}
    if isinstance(old, nn.RNN):
        settings |= {"num_layers": old.num_layers, "batch_first": old.batch_first, "bidirectional": old.bidirectional}
    new = kind(old.input_size, old.hidden_size, **settings).to_empty(device=like.device)
    if isinstance(old, nn.RNN) and isinstance(new, nn.RNNBase):
        new.dropout = old.dropout  # the constructor would warn of it again where there is one layer
    for name, parameter in old.named_parameters(remove_duplicate=False):
        new.get_parameter(name).requires_grad_(parameter.requires_grad)
    return new


def tied(new: nn.Module, old: nn.Module, made: dict[nn.Parameter, nn.Parameter]) -> None:
    """Lets a new module share what the old one shared. `made` has the new parameters by the old ones, over several modules."""
    for name, parameter in old.named_parameters(remove_duplicate=False):
        own = new.get_parameter(name)
        shared = made.setdefault(parameter, own)
        if shared is not own:
            setattr(new, name, shared)


def spelled(module: nn.Module) -> str:
    """A module as a person would write it: the repr of nn.RNN leaves out its nonlinearity."""
    text = repr(module)
    return f"{text[:-1]}, nonlinearity='relu')" if isinstance(module, nn.RNN) and module.mode == "RNN_RELU" else text


def shown(path: str) -> str:
    """A module's path in a message."""
    return repr(path) if path else "the network itself"


def listed(items: Sequence[str]) -> str:
    """Some items in a message, the first few of them by name."""
    return ", ".join(items[:NAMED]) + (f" and {len(items) - NAMED} more" if len(items) > NAMED else "")


def _returns(layout: ForwardGraph, positions: set[int], *, direct: bool) -> bool:
    """Whether a step at one of the positions depends on another of them."""
    reached: set[int] = set()
    for at, step in enumerate(layout.steps):
        dependent = any(
            source in positions or (source in reached and not (direct and layout.steps[source].kind is Kind.WEIGHT))
            for source in step.sources
        )
        if dependent and at in positions:
            return True
        if dependent:
            reached.add(at)
    return False


def _obstacle(module: Vanilla, foreign: set[int]) -> str:
    """Why a module may not be touched; empty where it may."""
    own = dict(module.named_parameters(remove_duplicate=False))
    expected = {name + end for name in _roles(bias=module.bias) for end in _endings(module)}
    if type(module) not in VANILLA and not parametrize.is_parametrized(module):
        return f"is a class of its own ({type(module).__name__})"
    if set(own) != expected:
        return "has weights that are computed from other parameters (weight_norm, spectral_norm)"
    if not any(p.requires_grad for p in own.values()):
        return "is frozen"
    return "shares a weight with another kind of layer" if any(id(p) in foreign for p in own.values()) else ""


def _foreign(network: nn.Module) -> set[int]:
    return {id(p) for m in network.modules() if type(m) not in VANILLA for p in m.parameters(recurse=False)}


def _roles(*, bias: bool) -> tuple[str, ...]:
    """What torch calls the parameters of one layer, without its number."""
    return ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if bias else ("weight_ih", "weight_hh")


def _endings(module: nn.RNNBase | nn.RNNCellBase) -> tuple[str, ...]:
    """What torch adds to these names, layer by layer."""
    if isinstance(module, nn.RNNCellBase):
        return ("",)
    directions = ("", "_reverse") if module.bidirectional else ("",)
    return tuple(f"_l{layer}{direction}" for layer in range(module.num_layers) for direction in directions)
