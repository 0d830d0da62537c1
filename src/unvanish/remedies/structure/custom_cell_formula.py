"""Recognises a hand-written vanilla recurrent cell by what it computes, without an example batch.

A vanilla cell returns f(W x + U h + b), with a matrix for each or one for both, however that is written. This is tested
numerically: a copy of the cell, alone and in float64, gets random weights, inputs and states, and must return that formula's value.
The random numbers come from a generator of their own.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unvanish.remedies.graph.model_copy import model_copy, without_side_effects
from unvanish.remedies.structure.custom_cells import CellNotReplaceable, CustomCell, extra_public_members

_ROWS = 16
_LARGE = 8.0
"""Half of the rows are this much larger, so that a clamp of inputs or outputs shows."""
_ACTIVATIONS = (torch.tanh, torch.relu, torch.sigmoid, F.leaky_relu, F.elu, F.softsign, F.hardtanh, torch.clone)
"""The last is for a linear cell."""
_STATE_NAMES = frozenset({"h", "hx", "hh", "ht", "hid", "hidden", "state", "states", "prev", "previous", "memory"})
_CELL_CLASS_NAMES = re.compile("cell|rnn|recurr|elman", re.IGNORECASE)


def recognise_by_formula(module: nn.Module) -> CustomCell:
    """The vanilla cell that a module is. Raises CellNotReplaceable, with an empty message where not even its parameters fit."""
    names, optional = _argument_names(module)
    features, hidden = _infer_sizes(module)
    named_position = _state_position_by_name(names)
    if named_position is None and not _CELL_CLASS_NAMES.search(type(module).__name__):
        raise CellNotReplaceable
    if members := extra_public_members(type(module)):
        raise CellNotReplaceable(f"has more than a forward ({', '.join(members)}), which code around it may call")
    if next(module.buffers(), None) is not None:
        raise CellNotReplaceable("has buffers, of which its successor knows nothing")
    try:
        with without_side_effects():
            possible_positions = _Probe.build(module, features, hidden).possible_state_positions(optional=optional)
    except CellNotReplaceable:
        raise
    except Exception as error:  # the user's forward may raise anything
        raise CellNotReplaceable(f"cannot be run alone ({type(error).__name__}: {error}); pass inputs=") from error
    return CustomCell(module, features, hidden, names, _select_state_position(possible_positions, named_position, names))


def _select_state_position(possible_positions: Sequence[int], named_position: int | None, names: tuple[str, str]) -> int:
    """The position of the state among those that the computation allows; where it allows both, the argument names decide."""
    if not possible_positions:
        raise CellNotReplaceable("computes something else than an activation of one sum over input and state; pass inputs=")
    if named_position is None and len(possible_positions) > 1:
        raise CellNotReplaceable(
            f"does not tell by the names of its arguments ({', '.join(names)}) which is the state; pass inputs="
        )
    if named_position is not None and named_position not in possible_positions:
        raise CellNotReplaceable(f"has a state by the name of {names[named_position]}, which its matrices do not fit; pass inputs=")
    return possible_positions[0] if named_position is None else named_position


@dataclass(frozen=True, slots=True)
class _Probe:
    """A copy of a cell with random weights, a random input `x` (rows, features) and a random state `h` (rows, hidden)."""

    cell: nn.Module
    x: Tensor
    h: Tensor

    @classmethod
    def build(cls, module: nn.Module, features: int, hidden: int) -> _Probe:
        """A probe on the CPU, in float64 and in training mode, so that dropout shows."""
        generator = torch.Generator().manual_seed(0)
        cell_copy = model_copy(module).to("cpu", torch.float64).train()
        for parameter in cell_copy.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) / hidden**0.5)
        x, h = (torch.randn(_ROWS, width, generator=generator, dtype=torch.float64) for width in (features, hidden))
        row_scale = torch.arange(_ROWS).remainder(2).mul(_LARGE - 1).add(1).to(x.dtype)[:, None]
        return cls(cell_copy, x * row_scale, h * row_scale)

    def possible_state_positions(self, *, optional: bool) -> tuple[int, ...]:
        """Which of the two arguments may be the state."""
        return tuple(position for position in (0, 1) if self._computes_vanilla_cell(position, optional=optional))

    def _computes_vanilla_cell(self, state_position: int, *, optional: bool) -> bool:
        output = self._output(self.h, state_position)
        if not isinstance(output, Tensor) or output.shape != self.h.shape or output.dtype != self.h.dtype:
            return False
        repeated = self._output(self.h, state_position)
        if not isinstance(repeated, Tensor) or not torch.equal(output, repeated):
            return False
        if optional and state_position == 1:  # without a state it has to start from zeros, as torch's own cells do
            without_state, with_zeros = self._output(None, state_position), self._output(torch.zeros_like(self.h), state_position)
            if (
                not isinstance(without_state, Tensor)
                or not isinstance(with_zeros, Tensor)
                or not torch.equal(without_state, with_zeros)
            ):
                return False
        sums = tuple(_possible_sums(self.x, self.h, tuple(self.cell.parameters())))
        return any(torch.allclose(act(total), output, rtol=1e-9, atol=1e-12) for act in _ACTIVATIONS for total in sums)

    def _output(self, state: Tensor | None, state_position: int) -> object:
        """The cell's result; None where it does not accept its arguments in this order."""
        x = self.x.clone()
        arguments = (x, state if state is None else state.clone())
        try:
            result = self.cell(*(arguments if state_position == 1 else arguments[::-1]))
        except (RuntimeError, ValueError, AssertionError):  # shapes that do not fit
            return None
        if isinstance(result, (tuple, list)):
            raise CellNotReplaceable("returns several values, where torch's cells return the state alone")
        return result


def _argument_names(module: nn.Module) -> tuple[tuple[str, str], bool]:
    """The names of a forward's two arguments, and whether the second is optional. Raises CellNotReplaceable for other forwards."""
    arguments = tuple(inspect.signature(module.forward).parameters.values())
    if len(arguments) != 2 or any(argument.kind is not argument.POSITIONAL_OR_KEYWORD for argument in arguments):
        raise CellNotReplaceable
    first_argument, second_argument = arguments
    if first_argument.default is not first_argument.empty or second_argument.default not in (second_argument.empty, None):
        raise CellNotReplaceable
    return (first_argument.name, second_argument.name), second_argument.default is None


def _infer_sizes(module: nn.Module) -> tuple[int, int]:
    """Features and hidden units, from the parameters' shapes. Raises CellNotReplaceable where no vanilla cell has such shapes."""
    parameters = tuple(module.parameters())
    matrices = [tuple(p.shape) for p in parameters if p.dim() == 2]
    for first, *others in permutations(matrices):
        hidden = min(first)
        features = max(first) - hidden
        if len(others) == 1 and first[0] == first[1] and hidden in others[0]:
            features = others[0][1] if others[0][0] == hidden else others[0][0]
        elif others or features == 0:
            continue
        if all(p.shape == (hidden,) for p in parameters if p.dim() != 2):
            return features, hidden
    raise CellNotReplaceable


def _possible_sums(x: Tensor, h: Tensor, parameters: Sequence[Tensor]) -> Iterator[Tensor]:
    """All values that W x + U h + b may have: with matrices as they are or transposed, or one matrix for both, in either order."""
    bias = sum((p for p in parameters if p.dim() == 1), torch.zeros_like(h))
    matrices = [p for p in parameters if p.dim() == 2]
    if len(matrices) == 1:
        joint_matrix = matrices[0] if len(matrices[0]) == h.shape[1] else matrices[0].T
        yield from (torch.cat(pair, 1) @ joint_matrix.T + bias for pair in ((x, h), (h, x)))
        return
    for input_matrix, state_matrix in permutations(matrices):
        for a in (input_matrix, input_matrix.T):
            for b in (state_matrix, state_matrix.T):
                if a.shape == (h.shape[1], x.shape[1]) and b.shape == (h.shape[1], h.shape[1]):
                    yield x @ a.T + h @ b.T + bias


def _state_position_by_name(names: tuple[str, str]) -> int | None:
    """Which of two arguments is the state, by name; None where the names do not tell."""
    positions = [position for position, name in enumerate(names) if not _STATE_NAMES.isdisjoint(re.split(r"[_\d]+", name.lower()))]
    return positions[0] if len(positions) == 1 else None
