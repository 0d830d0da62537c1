"""LSTMs with the interface of nn.RNN and nn.RNNCell: they take and return the hidden state alone.

An LSTM has two states, the hidden state h, which is also its output, and the cell state c. Code written for an nn.RNN passes on h
only. `CellStates` keeps c beside every h that such a module returned, for as long as that h or a view of it lives, and finds it
again when h comes back.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

SequenceInput: TypeAlias = Tensor | PackedSequence


@dataclass(frozen=True, slots=True)
class _StoredCell:
    """The cell state that belongs to a hidden state, and the version counter of the latter."""

    cell: Tensor
    version: int


@final
class CellStates:
    """The cell states of the hidden states that are alive. Several modules may share one, such as an encoder and a decoder.

    A hidden state is identified by its memory, so that it is also found detached (truncated backpropagation through time), or as a
    view: a slice, one layer of several. One that was computed anew (a copy, a masked or normalised state) or written to in place
    is not found. A copy of this object, by copy.deepcopy or pickle, is empty.
    """

    def __init__(self) -> None:
        self._cells: weakref.WeakKeyDictionary[torch.UntypedStorage, _StoredCell] = weakref.WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[CellStates], tuple[()]]:
        return CellStates, ()

    def recall(self, hidden: Tensor) -> Tensor:
        """The cell state of a hidden state, detached where that is; the hidden state itself where none is known.

        A state from elsewhere (an encoder's summary, a learned initial state) thus also initialises the cell state, where the
        forget gate can keep it; zeros initialise it with zeros.
        """
        stored = self._find(hidden)
        if stored is None:
            return hidden
        cell = stored.cell if hidden.grad_fn is not None else stored.cell.detach()
        if hidden.shape == cell.shape and hidden.is_contiguous():
            return cell
        return cell.as_strided(hidden.shape, hidden.stride(), cell.storage_offset() + hidden.storage_offset())

    def remember(self, hidden: Tensor, cell: Tensor) -> Tensor:
        """Stores the cell state for a hidden state; returns that hidden state in memory of its own."""
        hidden = _in_own_memory(hidden)
        self._cells[hidden.untyped_storage()] = _StoredCell(cell.contiguous(), _version(hidden))
        return hidden

    def _find(self, hidden: Tensor) -> _StoredCell | None:
        stored = self._cells.get(hidden.untyped_storage())
        is_known = stored is not None and not hidden.is_inference() and _version(hidden) == stored.version
        return stored if is_known and stored is not None and hidden.dtype == stored.cell.dtype else None


@final
class LSTMAsRNN(nn.LSTM):
    """An nn.LSTM with the interface of nn.RNN: forward(input, h_0) returns output and h_n; the cell state stays inside.

    The cell state starts at zero without h_0, is continued where h_0 is an h_n that this module (or one with the same `states`)
    returned, and starts at h_0 otherwise.

    Arguments:
        args: the arguments of nn.RNN, without `nonlinearity`.
        states: where cell states are kept; by default an object of this module alone.
        kwargs: the same by name.

    Shapes, with `batch_first`: input (batch, time, features), or a PackedSequence; h_0 and h_n (layers, batch, hidden); output
    (batch, time, hidden).

    Example:
        >>> lstm = LSTMAsRNN(3, 4, batch_first=True)
        >>> output, h = lstm(torch.zeros(2, 5, 3))
        >>> output, h = lstm(torch.zeros(2, 5, 3), h)  # continues with the cell state of h
        >>> output.shape, h.shape
        (torch.Size([2, 5, 4]), torch.Size([1, 2, 4]))
    """

    def __init__(self, *args: Any, states: CellStates | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.states = CellStates() if states is None else states

    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]  # the public name would load the compiler at once
    def forward(self, input: SequenceInput, hx: Tensor | None = None) -> tuple[SequenceInput, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Output and last hidden state, each of the shape that nn.RNN gives it."""
        output, (h, c) = super().forward(input, None if hx is None else (hx, self.states.recall(hx)))  # pyright: ignore[reportArgumentType, reportCallIssue]
        return output, self.states.remember(h.clone(), c)  # a kernel may keep its own h for the gradient, and with it c forever


@final
class LSTMCellAsRNNCell(nn.LSTMCell):
    """An nn.LSTMCell with the interface of nn.RNNCell: forward(input, h) returns the next h; the cell state stays inside.

    The cell state is treated as in LSTMAsRNN.

    Arguments:
        args: the arguments of nn.RNNCell, without `nonlinearity`.
        states: where cell states are kept; by default an object of this module alone.
        kwargs: the same by name.

    Shapes: input (batch, features); h and the result (batch, hidden).

    Example:
        >>> cell, x = LSTMCellAsRNNCell(3, 4), torch.zeros(2, 3)
        >>> h = cell(x)
        >>> cell(x, h).shape
        torch.Size([2, 4])
    """

    def __init__(self, *args: Any, states: CellStates | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.states = CellStates() if states is None else states

    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]  # as above
    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The next hidden state, of the shape that nn.RNNCell gives it."""
        h, c = super().forward(input, None if hx is None else (hx, self.states.recall(hx)))
        return self.states.remember(h, c)


def _in_own_memory(hidden: Tensor) -> Tensor:
    """The same values in memory of their own, with a version counter, which inference mode does not keep."""
    owns_memory = hidden.is_contiguous() and hidden.untyped_storage().nbytes() == hidden.numel() * hidden.element_size()
    if hidden.is_inference():
        with torch.inference_mode(False):
            return hidden.clone(memory_format=torch.contiguous_format)
    return hidden if owns_memory else hidden.clone(memory_format=torch.contiguous_format)


def _version(tensor: Tensor) -> int:
    return tensor._version  # pyright: ignore[reportPrivateUsage]  # torch has no other name for it
