"""Gated recurrent units in the place of vanilla recurrence. It changes no feed-forward part."""

from __future__ import annotations

import functools
from typing import ClassVar, final

from torch import nn

from unvanish.remedies.contract import Context, Operation, Remedy
from unvanish.remedies.recurrence import Succession, exchangeable, tied, unfilled
from unvanish.remedies.recurrent_numbers import recurrent_


@final
class Gru(Remedy):
    """Puts gated recurrent units in the place of vanilla recurrent layers, so that a state can pass many steps unchanged.

    Does: every nn.RNN becomes an nn.GRU and every nn.RNNCell an nn.GRUCell of the same sizes and settings (layers, directions,
        dropout, bias, batch_first), with the same inputs and outputs, so that the code around it stays as it is. Keys of the
        state_dict keep their names; the tensors under them have three times the rows. The new weights and biases are drawn
        from U(-1/sqrt(h), 1/sqrt(h)), torch's own scale. Left alone: gated layers, subclasses, frozen layers, weights that are
        computed (weight_norm) or shared with other layers, loops written by hand. The new parameters take the old ones' places
        in the optimizer if it is given; otherwise build the optimizer afterwards.
    Helps: memory over more than some ten steps. On the adding problem over 100 steps (64 units, 1500 steps of Adam at 2e-3) the
        error falls to .0022 (one seed), where the vanilla network stays at .167, which is chance.
    Harms: what the recurrence had learned is lost. A saved state_dict of the old network no longer fits.
    Cost: three times the weights and multiplications of the recurrent layers.
    References: Cho et al. 2014, arXiv 1406.1078; Pascanu et al. 2013, arXiv 1211.5063.
    """

    name: ClassVar[str] = "gru"
    family: ClassVar[str] = "architecture"
    summary: ClassVar[str] = "nn.GRU in the place of nn.RNN, with the same interface"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-through-time", "exploding-through-time", "vanishing-gradient")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One exchange a module. Raises NotApplicable where the network has no vanilla recurrence in a module of its own."""
        operations: list[Operation] = []
        made: dict[nn.Parameter, nn.Parameter] = {}
        for path, old, hung in exchangeable(network, context, remedy=self.name):
            new = unfilled(nn.GRU if isinstance(old, nn.RNN) else nn.GRUCell, old)
            tied(new, old, made)
            fill = functools.partial(recurrent_, hidden=old.hidden_size, generator=context.generator)
            operations.append(Succession(path, old, new, hung, tuple((p, fill) for p in new.parameters())))
        return tuple(operations)
