"""Adapts a recurrent cell of torch to the argument names and order of the cell that it replaces."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, nn


@final
class CellAdapter(nn.Module):
    """Calls a cell as cell(input, state), for code that passes its two arguments by other names or in the other order.

    Arguments:
        cell: a cell such as nn.GRUCell, whose state is optional.
        names: the names of the two arguments of this module's forward, in order.
        state: which of the two is the state: 0 or 1.

    Shapes: input (batch, features), state and result (batch, hidden).

    Example:
        >>> import torch
        >>> cell = nn.GRUCell(3, 4)
        >>> adapter = CellAdapter(cell, ("h", "x"), state=0)
        >>> x, h = torch.ones(2, 3), torch.zeros(2, 4)
        >>> torch.equal(adapter(h, x=x), cell(x, h))
        True
    """

    def __init__(self, cell: nn.Module, names: tuple[str, str], *, state: int) -> None:
        super().__init__()
        self.cell = cell
        self.names = names
        self.state = state

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The next state. Raises TypeError for an unknown or repeated argument, and where the input is missing."""
        arguments = dict(zip(self.names, args, strict=False))
        if len(args) > len(self.names) or not arguments.keys().isdisjoint(kwargs) or not kwargs.keys() <= {*self.names}:
            raise TypeError(f"forward takes {self.names[0]} and {self.names[1]}, once each")
        arguments |= kwargs
        signal, state = self.names[1 - self.state], self.names[self.state]
        if signal not in arguments:
            raise TypeError(f"forward misses {signal}")
        return self.cell(arguments[signal], arguments.get(state))

    def extra_repr(self) -> str:
        """The arguments, for the module's repr."""
        return f"{', '.join(self.names)}; state={self.names[self.state]}"
