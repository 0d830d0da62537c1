"""Hand-written recurrent cells: what is known of one, and how a cell of torch replaces it.

Such a cell is called step by step as cell(x, h) or cell(h, x), with an input of shape (batch, features) and a state of shape
(batch, hidden), and returns the next state and nothing else. `custom_cell_formula` recognises one by what it computes,
`custom_cell_calls` by its arguments and results as an example batch runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from unvanish.record.network_changes import Edit
from unvanish.remedies.base import Operation
from unvanish.remedies.edits.module_edits import Fill, Initialise, Place, Replace
from unvanish.remedies.graph.signal_kinds import FUSED
from unvanish.remedies.layers.cell_adapter import CellAdapter
from unvanish.remedies.optimizers.parameter_groups import add_parameters

_SETTING_TYPES = (bool, int, float, str, type(None))
_INITIALISING_METHODS = frozenset({"reset_parameters", "init_weights", "initialise", "initialize"})
"""Methods that constructors call: a new cell does not need them."""


class CellNotReplaceable(Exception):
    """A module is not a cell that can be replaced. The message says why; it is empty where it does not even look like a cell."""


@dataclass(frozen=True, slots=True)
class CustomCell:
    """A hand-written recurrent cell.

    Arguments:
        module: the cell.
        features: size of its input.
        hidden: size of its state.
        argument_names: the names of its two arguments, in order.
        state_position: which of the two arguments is the state: 0 or 1.
        called_by_name: whether code may pass arguments by these names.
        state_is_copied: whether its state came back as a copy of what it had returned.
    """

    module: nn.Module
    features: int
    hidden: int
    argument_names: tuple[str, str]
    state_position: int
    called_by_name: bool = False
    state_is_copied: bool = False

    def create_uninitialised(self, kind: Callable[..., nn.RNNCellBase], **settings: Any) -> Any:
        """A cell of class `kind` with the sizes, device and dtype of this one, and uninitialised parameters.

        It has biases where this one has. Its matrices are trainable where any of this cell's matrices is, its biases likewise.
        """
        old = tuple(self.module.parameters())
        settings |= {"bias": any(p.dim() == 1 for p in old), "device": "meta", "dtype": old[0].dtype}
        new = kind(self.features, self.hidden, **settings).to_empty(device=old[0].device)  # on meta, no random numbers are drawn
        for parameter in new.parameters():
            parameter.requires_grad_(any(p.requires_grad for p in _same_role(old, parameter)))
        return new


@dataclass(frozen=True, slots=True)
class ReplacedCell(Operation):
    """Replaces a hand-written cell in all of its `places`, and initialises the new cell with `fills`.

    The new matrices join the optimizer and group of the old cell's first matrix that has one, the new biases those of its first
    bias. The old cell's parameters leave the optimizers.
    """

    path: str
    old: nn.Module
    new: nn.Module
    after: str
    places: tuple[Place, ...]
    fills: tuple[tuple[nn.Parameter, Fill], ...]

    @property
    def edit(self) -> Edit:
        """The class of the old cell at the path, and the new cell."""
        return Edit("replace", self.path, type(self.old).__name__, self.after)

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Adds the new parameters to the optimizers, replaces the module, and initialises the new one."""
        old = sorted(self.old.parameters(), key=lambda p: not p.requires_grad)  # those that train come first
        owned = {p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in self.new.named_parameters():
            neighbour = next((p for p in (*_same_role(old, parameter), *old) if p in owned), None)
            if neighbour is not None:
                add_parameters({f"{self.path}.{name}": parameter}, optimizers, trained_with=(neighbour,))
        Replace(self.path, self.old, self.new, self.places).perform(network, optimizers)
        Initialise(self.path, "", "", self.fills).perform(network, optimizers)


def replace_cell(
    path: str, cell: CustomCell, new: nn.RNNCellBase, cell_places: tuple[Place, ...], fills: tuple[tuple[nn.Parameter, Fill], ...]
) -> ReplacedCell:
    """The replacement of a hand-written cell by `new`, which keeps the signature and the plain settings (`hidden_size`)."""
    replacement = (
        CellAdapter(new, cell.argument_names, state=cell.state_position) if cell.state_position == 0 or cell.called_by_name else new
    )
    existing_names = {*dir(type(replacement)), *vars(replacement)}
    for name, value in vars(cell.module).items():
        if name not in existing_names and not name.startswith("_") and isinstance(value, _SETTING_TYPES):
            setattr(replacement, name, value)
    return ReplacedCell(path, cell.module, replacement, repr(new), cell_places, fills)


def possible_cells(network: nn.Module) -> dict[str, nn.Module]:
    """The modules inside the network, by path, that might be hand-written cells.

    They are of the user's own class, have parameters, and contain none of torch's fused modules (recurrent layers, attention).
    """
    return {
        path: module
        for path, module in network.named_modules()
        if path
        and not type(module).__module__.startswith(("torch.", "unvanish."))
        and next(module.parameters(), None) is not None
        and not any(isinstance(m, FUSED) for m in module.modules())
    }


def reason_not_replaceable(module: nn.Module, network: nn.Module) -> str:
    """Why a cell cannot be replaced, whatever it computes; empty where it can."""
    if not any(p.requires_grad for p in module.parameters()):
        return "is frozen"
    own_ids = {id(p) for p in module.parameters()}
    places = tuple(f"{path}." for path, other in network.named_modules(remove_duplicate=False) if other is module)
    all_parameters = network.named_parameters(remove_duplicate=False)
    if any(id(p) in own_ids and not name.startswith(places) for name, p in all_parameters):
        return "shares a weight with another layer"
    if any(isinstance(leaf, Tensor) for m in module.modules() for leaf in tree_leaves(_plain_attributes(m))):
        return "keeps a tensor between its calls"
    return ""


def extra_public_members(kind: type[nn.Module]) -> tuple[str, ...]:
    """The public methods and properties of a class besides `forward` that do not initialise it."""
    members = [
        name
        for parent in kind.__mro__
        if parent not in nn.Module.__mro__
        for name, value in vars(parent).items()
        if _is_public_member(value)
    ]
    return tuple(
        name for name in members if not name.startswith("_") and name not in dir(nn.Module) and name not in _INITIALISING_METHODS
    )


def _is_public_member(value: object) -> bool:
    return callable(value) or isinstance(value, (property, staticmethod, classmethod))


def _plain_attributes(module: nn.Module) -> list[Any]:
    """The values of a module's attributes, except its registries of parameters, buffers and submodules."""
    return [value for name, value in vars(module).items() if name not in ("_parameters", "_buffers", "_modules")]


def _same_role(old: Sequence[nn.Parameter], new: nn.Parameter) -> tuple[nn.Parameter, ...]:
    """The old parameters of the role of a new one: biases (or scales) for a bias, matrices for a matrix."""
    return tuple(p for p in old if (p.dim() == 1) == (new.dim() == 1))
