"""A cell behind the call signature of another cell, so that the code that calls it stays as it is. It knows no network."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, nn


@final
class AsCalled(nn.Module):
    """A recurrent cell, called as cell(input, state), behind a forward with two arguments of other names or in the other order.

    `names` are those of the two arguments, in their order, and `state` is the position of the state among them.
    """

    def __init__(self, cell: nn.Module, names: tuple[str, str], *, state: int) -> None:
        super().__init__()
        self.cell = cell
        self.names = names
        self.state = state

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The next state. Raises TypeError for an argument of another name, and for one that is missing, but for the state."""
        given = dict(zip(self.names, args, strict=False))
        if len(args) > len(self.names) or not given.keys().isdisjoint(kwargs) or not kwargs.keys() <= {*self.names}:
            raise TypeError(f"forward takes {self.names[0]} and {self.names[1]}, once each")
        given |= kwargs
        signal, state = self.names[1 - self.state], self.names[self.state]
        if signal not in given:
            raise TypeError(f"forward misses {signal}")
        return self.cell(given[signal], given.get(state))

    def extra_repr(self) -> str:
        """The call, as a person writes it."""
        return f"{', '.join(self.names)}; state={self.names[self.state]}"
