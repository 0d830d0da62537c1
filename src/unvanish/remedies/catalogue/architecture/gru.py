"""The remedy gru: gated recurrent units (GRU) in place of vanilla recurrent layers and hand-written cells."""

from __future__ import annotations

import functools
from typing import ClassVar, final

import torch
from torch import nn

from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.module_edits import Fill
from unvanish.remedies.init.recurrent import recurrent_uniform_
from unvanish.remedies.structure.custom_cells import replace_cell
from unvanish.remedies.structure.recurrence import ReplacedRecurrence, create_uninitialised, tie_parameters
from unvanish.remedies.structure.replaceable_recurrence import find_replaceable_recurrence, require_cells_fit


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
        """One replacement a module. Raises NotApplicable where the network has no vanilla recurrence in a module of its own, or
        uses a hand-written cell for more than steps."""
        recurrence = find_replaceable_recurrence(network, context, remedy=self.name)
        operations: list[Operation] = []
        new_by_old: dict[nn.Parameter, nn.Parameter] = {}
        for path, old, places in recurrence.modules:
            new = create_uninitialised(nn.GRU if isinstance(old, nn.RNN) else nn.GRUCell, old)
            tie_parameters(new, old, new_by_old)
            operations.append(ReplacedRecurrence(path, old, new, places, _fills(new, context.generator)))
        cell_operations = [
            replace_cell(path, cell, new := cell.create_uninitialised(nn.GRUCell), places, _fills(new, context.generator))
            for path, cell, places in recurrence.cells
        ]
        if cell_operations and context.inputs is not None:
            require_cells_fit(network, context.inputs, cell_operations, remedy=self.name)
        return (*operations, *cell_operations)


def _fills(module: nn.GRU | nn.GRUCell, generator: torch.Generator) -> tuple[tuple[nn.Parameter, Fill], ...]:
    fill = functools.partial(recurrent_uniform_, hidden=module.hidden_size, generator=generator)
    return tuple((parameter, fill) for parameter in module.parameters())
