"""LSTMs that can stand where an nn.RNN stood: they take and return the hidden state alone. They know no network.

An LSTM carries two states from step to step, the hidden state h that everybody sees and the cell state c that is its memory. Code
written for an nn.RNN hands on h only. `CellStates` keeps c beside every h that such a module returned, for as long as that h
or a view of it lives, and finds it again when the h comes back.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

Signal: TypeAlias = Tensor | PackedSequence


@dataclass(frozen=True, slots=True)
class _Kept:
    """The cell state that belongs to a hidden state, and the version of the latter's values."""

    cell: Tensor
    version: int


@final
class CellStates:
    """The cell states of the hidden states that are alive. Several modules may share one: what an encoder made, a decoder takes.

    A hidden state is known by its memory, so that it may come back as it was, detached (truncated backpropagation through
    time), or as a view: a slice, one layer of several. One that was computed anew (a copy, a masked or normalised state) or
    written to in place is not known. A copy of this object, by copy.deepcopy or pickle, begins empty.
    """

    def __init__(self) -> None:
        self._kept: weakref.WeakKeyDictionary[torch.UntypedStorage, _Kept] = weakref.WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[CellStates], tuple[()]]:
        return CellStates, ()

    def recall(self, hidden: Tensor) -> Tensor:
        """The cell state of a hidden state, detached where that is; the hidden state itself where none is known.

        A state from elsewhere (an encoder's summary, a learned beginning) thus also starts the memory, where the forget gate can
        keep it; zeros start it at zero.
        """
        kept = self._found(hidden)
        if kept is None:
            return hidden
        cell = kept.cell if hidden.grad_fn is not None else kept.cell.detach()
        if hidden.shape == cell.shape and hidden.is_contiguous():
            return cell
        return cell.as_strided(hidden.shape, hidden.stride(), cell.storage_offset() + hidden.storage_offset())

    def remember(self, hidden: Tensor, cell: Tensor) -> Tensor:
        """The hidden state, in memory of its own; the cell state is kept beside it."""
        hidden = _alone(hidden)
        self._kept[hidden.untyped_storage()] = _Kept(cell.contiguous(), _version(hidden))
        return hidden

    def _found(self, hidden: Tensor) -> _Kept | None:
        kept = self._kept.get(hidden.untyped_storage())
        known = kept is not None and not hidden.is_inference() and _version(hidden) == kept.version
        return kept if known and kept is not None and hidden.dtype == kept.cell.dtype else None


@final
class LSTMAsRNN(nn.LSTM):
    """An nn.LSTM with the interface of nn.RNN: forward(input, h_0) returns output and h_n, the cell state stays inside.

    It takes the arguments of nn.RNN but `nonlinearity`. The cell state starts at zero without h_0, is continued where h_0 is an
    h_n that this module (or one with the same `states`) returned, and starts at h_0 otherwise. In all else it is an nn.LSTM.
    """

    def __init__(self, *args: Any, states: CellStates | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.states = CellStates() if states is None else states

    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]  # the public name would load the compiler at once
    def forward(self, input: Signal, hx: Tensor | None = None) -> tuple[Signal, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Output and last hidden state, each of the shape that nn.RNN gives it."""
        output, (h, c) = super().forward(input, None if hx is None else (hx, self.states.recall(hx)))  # pyright: ignore[reportArgumentType, reportCallIssue]
        return output, self.states.remember(h.clone(), c)  # a kernel may hold its own h for the gradient, and c with it for good


@final
class LSTMCellAsRNNCell(nn.LSTMCell):
    """An nn.LSTMCell with the interface of nn.RNNCell: forward(input, h) returns the next h, the cell state stays inside.

    It takes the arguments of nn.RNNCell but `nonlinearity`, and treats the cell state as LSTMAsRNN does.
    """

    def __init__(self, *args: Any, states: CellStates | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.states = CellStates() if states is None else states

    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]  # as above
    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The next hidden state, of the shape that nn.RNNCell gives it."""
        h, c = super().forward(input, None if hx is None else (hx, self.states.recall(hx)))
        return self.states.remember(h, c)


def _alone(hidden: Tensor) -> Tensor:
    """The same values in memory that holds nothing else, with a count of the writes to it, which inference mode leaves out."""
    whole = hidden.is_contiguous() and hidden.untyped_storage().nbytes() == hidden.numel() * hidden.element_size()
    if hidden.is_inference():
        with torch.inference_mode(False):
            return hidden.clone(memory_format=torch.contiguous_format)
    return hidden if whole else hidden.clone(memory_format=torch.contiguous_format)


def _version(tensor: Tensor) -> int:
    return tensor._version  # pyright: ignore[reportPrivateUsage]  # torch has no other name for it
