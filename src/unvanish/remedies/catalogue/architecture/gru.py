"""Gated recurrent units in the place of vanilla recurrence. It changes no feed-forward part."""

from __future__ import annotations

import functools
from typing import ClassVar, final

import torch
from torch import nn

from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.module_edits import Fill
from unvanish.remedies.init.recurrent import recurrent_
from unvanish.remedies.structure.custom_cells import replace_cell
from unvanish.remedies.structure.recurrence import Succession, tied, unfilled
from unvanish.remedies.structure.replaceable_recurrence import exchangeable, refuse_misfits


@final
class Gru(Remedy):
    """Puts gated recurrent units in the place of vanilla recurrent layers, so that a state can pass many steps unchanged.

    Does: every nn.RNN becomes an nn.GRU and every nn.RNNCell an nn.GRUCell of the same sizes and settings (layers, directions,
        dropout, bias, batch_first), with the same inputs and outputs, so that the code around it stays as it is. Keys of the
        state_dict keep their names; the tensors under them have three times the rows. The new weights and biases are drawn
        from U(-1/sqrt(h), 1/sqrt(h)), torch's own scale. Left alone: gated layers, subclasses, frozen layers, weights that are
        computed (weight_norm) or shared with other layers, loops over layers that are no cell. The new parameters take the old
        ones' places in the optimizer if it is given; otherwise build the optimizer afterwards.
        A cell of your own class, called as cell(x, h) or cell(h, x) for the next h, becomes an nn.GRUCell too. With inputs= it
        is told by its calls: the state is what it returned before, as it came out, and no gate is in it. Without, it has to
        compute an activation of one sum, W x + U h + b, and say by a name (h, hidden, state; ...Cell) that it is a cell.
    Helps: memory over more than some ten steps. On the adding problem over 100 steps (64 units, 1500 steps of Adam at 2e-3) the
        error falls to .0022 (one seed), where the vanilla network stays at .167, which is chance.
        Spoken digits over 64 frames, with a hand-written cell of 64 units (400 steps, three seeds): accuracy .55, .45 and .50,
        where that cell has .09, .14 and .11.
    Harms: what the recurrence had learned is lost. A saved state_dict of the old network no longer fits. All that a hand-written
        cell did besides (a normalisation inside it) goes with it, and code that reads its layers (cell.h2h) ends in an error;
        in the network's own forward that is found with inputs=, and refused.
    Cost: three times the weights and multiplications of the recurrent layers.
    References: Cho et al. 2014, arXiv 1406.1078; Pascanu et al. 2013, arXiv 1211.5063.
    """

    name: ClassVar[str] = "gru"
    family: ClassVar[str] = "architecture"
    summary: ClassVar[str] = "nn.GRU in the place of nn.RNN and of hand-written cells, with the same interface"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-through-time", "exploding-through-time", "vanishing-gradient")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One exchange a module. Raises NotApplicable where the network has no vanilla recurrence in a module of its own, or asks
        more of a hand-written cell than a step."""
        found = exchangeable(network, context, remedy=self.name)
        operations: list[Operation] = []
        made: dict[nn.Parameter, nn.Parameter] = {}
        for path, old, hung in found.modules:
            new = unfilled(nn.GRU if isinstance(old, nn.RNN) else nn.GRUCell, old)
            tied(new, old, made)
            operations.append(Succession(path, old, new, hung, _fills(new, context.generator)))
        taken = [
            replace_cell(path, cell, new := cell.unfilled(nn.GRUCell), hung, _fills(new, context.generator))
            for path, cell, hung in found.cells
        ]
        if taken and context.inputs is not None:
            refuse_misfits(network, context.inputs, taken, remedy=self.name)
        return (*operations, *taken)


def _fills(module: nn.GRU | nn.GRUCell, generator: torch.Generator) -> tuple[tuple[nn.Parameter, Fill], ...]:
    fill = functools.partial(recurrent_, hidden=module.hidden_size, generator=generator)
    return tuple((parameter, fill) for parameter in module.parameters())
