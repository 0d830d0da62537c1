"""Tells a vanilla recurrent cell by what it computes, where no example batch shows how it is called.

A vanilla cell returns f(W x + U h + b), with a matrix for each or one over both, however that is written. Whether a class does
so is tried out: a copy of the cell, alone and in float64, gets random weights, inputs and states, and has to return just that.
What is random here has a generator of its own.
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

from unvanish.remedies.graph.model_copy import model_copy, without_trace
from unvanish.remedies.structure.custom_cells import CustomCell, NoCell, further

_ROWS = 16
_LOUD = 8.0
"""Half of the rows are this much larger, so that a bound on what comes in or goes out shows."""
_ACTIVATIONS = (torch.tanh, torch.relu, torch.sigmoid, F.leaky_relu, F.elu, F.softsign, F.hardtanh, torch.clone)
"""With the last, a linear cell."""
_STATES = frozenset({"h", "hx", "hh", "ht", "hid", "hidden", "state", "states", "prev", "previous", "memory"})
_CELLS = re.compile("cell|rnn|recurr|elman", re.IGNORECASE)


def read(module: nn.Module) -> CustomCell:
    """What is known of a vanilla cell. Raises NoCell, without a word where the module has not even its parameters."""
    names, optional = _signature(module)
    features, hidden = _sizes(module)
    state = _named_state(names)
    if state is None and not _CELLS.search(type(module).__name__):
        raise NoCell
    if extra := further(type(module)):
        raise NoCell(f"has more than a forward ({', '.join(extra)}), which code around it may call")
    if next(module.buffers(), None) is not None:
        raise NoCell("has buffers, of which its successor knows nothing")
    try:
        with without_trace():
            possible = _Probe.of(module, features, hidden).states(optional=optional)
    except NoCell:
        raise
    except Exception as fault:  # the user's forward may raise anything
        raise NoCell(f"cannot be run alone ({type(fault).__name__}: {fault}); pass inputs=") from fault
    return CustomCell(module, features, hidden, names, _chosen(possible, state, names))


def _chosen(possible: Sequence[int], named: int | None, names: tuple[str, str]) -> int:
    """The place of the state, of those that the computation allows; where it allows both, the names decide."""
    if not possible:
        raise NoCell("computes something else than an activation of one sum over input and state; pass inputs=")
    if named is None and len(possible) > 1:
        raise NoCell(f"does not tell by the names of its arguments ({', '.join(names)}) which is the state; pass inputs=")
    if named is not None and named not in possible:
        raise NoCell(f"has a state by the name of {names[named]}, which its matrices do not fit; pass inputs=")
    return possible[0] if named is None else named


@dataclass(frozen=True, slots=True)
class _Probe:
    """A copy of a cell with random weights, and random numbers to put in."""

    cell: nn.Module
    x: Tensor
    h: Tensor

    @classmethod
    def of(cls, module: nn.Module, features: int, hidden: int) -> _Probe:
        """In training mode, so that dropout shows, on the CPU."""
        generator = torch.Generator().manual_seed(0)
        double = model_copy(module).to("cpu", torch.float64).train()
        for parameter in double.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) / hidden**0.5)
        x, h = (torch.randn(_ROWS, width, generator=generator, dtype=torch.float64) for width in (features, hidden))
        loud = torch.arange(_ROWS).remainder(2).mul(_LOUD - 1).add(1).to(x.dtype)[:, None]
        return cls(double, x * loud, h * loud)

    def states(self, *, optional: bool) -> tuple[int, ...]:
        """At which of its two places the cell may take its state."""
        return tuple(at for at in (0, 1) if self._fits(at, optional=optional))

    def _fits(self, at: int, *, optional: bool) -> bool:
        found = self._output(self.h, at)
        if not isinstance(found, Tensor) or found.shape != self.h.shape or found.dtype != self.h.dtype:
            return False
        again = self._output(self.h, at)
        if not isinstance(again, Tensor) or not torch.equal(found, again):
            return False
        if optional and at == 1:  # without a state it has to start from zeros, as torch's own cells do
            alone, zeros = self._output(None, at), self._output(torch.zeros_like(self.h), at)
            if not isinstance(alone, Tensor) or not isinstance(zeros, Tensor) or not torch.equal(alone, zeros):
                return False
        sums = tuple(_sums(self.x, self.h, tuple(self.cell.parameters())))
        return any(torch.allclose(act(each), found, rtol=1e-9, atol=1e-12) for act in _ACTIVATIONS for each in sums)

    def _output(self, state: Tensor | None, at: int) -> object:
        """What the cell returns; None where it does not take its arguments in this order."""
        x = self.x.clone()
        given = (x, state if state is None else state.clone())
        try:
            result = self.cell(*(given if at == 1 else given[::-1]))
        except (RuntimeError, ValueError, AssertionError):  # shapes that do not fit
            return None
        if isinstance(result, (tuple, list)):
            raise NoCell("returns several values, where torch's cells return the state alone")
        return result


def _signature(module: nn.Module) -> tuple[tuple[str, str], bool]:
    """The names of a forward's two arguments, and whether it may be called without the second. NoCell for any other forward."""
    arguments = tuple(inspect.signature(module.forward).parameters.values())
    if len(arguments) != 2 or any(each.kind is not each.POSITIONAL_OR_KEYWORD for each in arguments):
        raise NoCell
    first, second = arguments
    if first.default is not first.empty or second.default not in (second.empty, None):
        raise NoCell
    return (first.name, second.name), second.default is None


def _sizes(module: nn.Module) -> tuple[int, int]:
    """The numbers of features and of hidden units by the shapes of the parameters. NoCell where these are not a vanilla cell's."""
    parameters = tuple(module.parameters())
    matrices = [tuple(p.shape) for p in parameters if p.dim() == 2]
    for one, *rest in permutations(matrices):
        hidden = min(one)
        features = max(one) - hidden
        if len(rest) == 1 and one[0] == one[1] and hidden in rest[0]:
            features = rest[0][1] if rest[0][0] == hidden else rest[0][0]
        elif rest or features == 0:
            continue
        if all(p.shape == (hidden,) for p in parameters if p.dim() != 2):
            return features, hidden
    raise NoCell


def _sums(x: Tensor, h: Tensor, parameters: Sequence[Tensor]) -> Iterator[Tensor]:
    """All that W x + U h + b may be, with matrices as they stand and transposed, or one for both in either order."""
    bias = sum((p for p in parameters if p.dim() == 1), torch.zeros_like(h))
    matrices = [p for p in parameters if p.dim() == 2]
    if len(matrices) == 1:
        wide = matrices[0] if len(matrices[0]) == h.shape[1] else matrices[0].T
        yield from (torch.cat(pair, 1) @ wide.T + bias for pair in ((x, h), (h, x)))
        return
    for into, back in permutations(matrices):
        for a in (into, into.T):
            for b in (back, back.T):
                if a.shape == (h.shape[1], x.shape[1]) and b.shape == (h.shape[1], h.shape[1]):
                    yield x @ a.T + h @ b.T + bias


def _named_state(names: tuple[str, str]) -> int | None:
    """Which of two arguments is the state by its name; None where the names do not tell."""
    told = [at for at, name in enumerate(names) if not _STATES.isdisjoint(re.split(r"[_\d]+", name.lower()))]
    return told[0] if len(told) == 1 else None
