"""A recurrent cell of the user's own class: what is known of it, and how another cell takes its place. It finds none.

Such a cell is called step by step as cell(x, h) or cell(h, x), with an input of shape (batch, features) and a state of shape
(batch, hidden), and returns the next state and nothing else. `cell_formula` tells one by what it computes, `cell_calls` by what
goes in and comes out as an example batch runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from unvanish.record.change import Edit
from unvanish.remedies.base import Operation
from unvanish.remedies.edits.module_edits import Fill, Initialise, Place, Replace
from unvanish.remedies.graph.kinds import FUSED
from unvanish.remedies.layers.as_called import AsCalled
from unvanish.remedies.optimizers.parameters import enrol

_PLAIN = (bool, int, float, str, type(None))
_SETTING_UP = frozenset({"reset_parameters", "init_weights", "initialise", "initialize"})
"""Methods that a constructor calls: a new cell does without them."""


class NoCell(Exception):
    """A module is no cell that can be exchanged. The message says why, and is empty where it does not even look like a cell."""


@dataclass(frozen=True, slots=True)
class CustomCell:
    """A hand-written cell, the names of its two arguments in their order, and at which of the two places it takes its state.

    `renamed` tells that it may be called by these names, and `copied` that its state was seen to come back as a copy.
    """

    module: nn.Module
    features: int
    hidden: int
    names: tuple[str, str]
    state: int
    renamed: bool = False
    copied: bool = False

    def unfilled(self, kind: Callable[..., nn.RNNCellBase], **settings: Any) -> Any:
        """A cell of another kind with the sizes, device and dtype of this one; its numbers are yet to be drawn.

        It has biases where this one has, and its matrices train where one of this one's does; so do its biases.
        """
        old = tuple(self.module.parameters())
        settings |= {"bias": any(p.dim() == 1 for p in old), "device": "meta", "dtype": old[0].dtype}
        new = kind(self.features, self.hidden, **settings).to_empty(device=old[0].device)  # on meta, nothing is drawn
        for parameter in new.parameters():
            parameter.requires_grad_(any(p.requires_grad for p in _alike(old, parameter)))
        return new


@dataclass(frozen=True, slots=True)
class ReplacedCell(Operation):
    """Puts another cell into all the `places` of a hand-written one, with fresh numbers from `fills`.

    Its matrices join the optimizer and the group of the old cell's first matrix that has one, its biases those of the first bias.
    The old cell's parameters leave the optimizers.
    """

    path: str
    old: nn.Module
    new: nn.Module
    after: str
    places: tuple[Place, ...]
    fills: tuple[tuple[nn.Parameter, Fill], ...]

    @property
    def edit(self) -> Edit:
        """The class of the cell that stood at the path, and the cell that stands there now."""
        return Edit("replace", self.path, type(self.old).__name__, self.after)

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Enrols what is new while the old still holds its places, exchanges the module, and draws the numbers."""
        old = sorted(self.old.parameters(), key=lambda p: not p.requires_grad)  # those that train come first
        owned = {p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in self.new.named_parameters():
            beside = next((p for p in (*_alike(old, parameter), *old) if p in owned), None)
            if beside is not None:
                enrol({f"{self.path}.{name}": parameter}, optimizers, beside=(beside,))
        Replace(self.path, self.old, self.new, self.places).perform(network, optimizers)
        Initialise(self.path, "", "", self.fills).perform(network, optimizers)


def replace_cell(
    path: str, cell: CustomCell, new: nn.RNNCellBase, hung: tuple[Place, ...], fills: tuple[tuple[nn.Parameter, Fill], ...]
) -> ReplacedCell:
    """The exchange of a hand-written cell for another, which keeps its signature and its plain settings (`hidden_size`)."""
    behind = AsCalled(new, cell.names, state=cell.state) if cell.state == 0 or cell.renamed else new
    known = {*dir(type(behind)), *vars(behind)}
    for name, value in vars(cell.module).items():
        if name not in known and not name.startswith("_") and isinstance(value, _PLAIN):
            setattr(behind, name, value)
    return ReplacedCell(path, cell.module, behind, repr(new), hung, fills)


def candidates(network: nn.Module) -> dict[str, nn.Module]:
    """The modules below the network, by path, that might be hand-written cells: of a class of the user's own, with parameters, and
    nothing inside of which torch makes one kernel (recurrent layers, attention)."""
    return {
        path: module
        for path, module in network.named_modules()
        if path
        and not type(module).__module__.startswith(("torch.", "unvanish."))
        and next(module.parameters(), None) is not None
        and not any(isinstance(m, FUSED) for m in module.modules())
    }


def obstacle(module: nn.Module, network: nn.Module) -> str:
    """What keeps a cell in its place, whatever it computes; empty where nothing does."""
    if not any(p.requires_grad for p in module.parameters()):
        return "is frozen"
    own = {id(p) for p in module.parameters()}
    places = tuple(f"{path}." for path, each in network.named_modules(remove_duplicate=False) if each is module)
    everywhere = network.named_parameters(remove_duplicate=False)
    if any(id(p) in own and not name.startswith(places) for name, p in everywhere):
        return "shares a weight with another layer"
    if any(isinstance(leaf, Tensor) for m in module.modules() for leaf in tree_leaves(_loose(m))):
        return "keeps a tensor between its calls"
    return ""


def further(kind: type[nn.Module]) -> tuple[str, ...]:
    """What a class offers to the code around it besides its forward: public methods and properties that do not set it up."""
    own = [name for each in kind.__mro__ if each not in nn.Module.__mro__ for name, value in vars(each).items() if _is_offer(value)]
    return tuple(name for name in own if not name.startswith("_") and name not in dir(nn.Module) and name not in _SETTING_UP)


def _is_offer(value: object) -> bool:
    return callable(value) or isinstance(value, (property, staticmethod, classmethod))


def _loose(module: nn.Module) -> list[Any]:
    """The attributes of a module that are none of its registries."""
    return [value for name, value in vars(module).items() if name not in ("_parameters", "_buffers", "_modules")]


def _alike(old: Sequence[nn.Parameter], new: nn.Parameter) -> tuple[nn.Parameter, ...]:
    """Those of the old parameters that are biases (or scales) where the new one is a bias, and matrices where it is a matrix."""
    return tuple(p for p in old if (p.dim() == 1) == (new.dim() == 1))
