"""The remedy lstm: long short-term memory (LSTM) in place of vanilla recurrent layers and hand-written cells."""

from __future__ import annotations

import functools
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.module_edits import Fill
from unvanish.remedies.graph.sequence_lengths import modules_with_altered_state
from unvanish.remedies.init.recurrent import FORGET_BIAS, forget_bias_, recurrent_uniform_
from unvanish.remedies.layers.recurrent import CellStates, LSTMAsRNN, LSTMCellAsRNNCell
from unvanish.remedies.structure.custom_cells import replace_cell
from unvanish.remedies.structure.recurrence import ReplacedRecurrence, create_uninitialised, layer_parameters, tie_parameters
from unvanish.remedies.structure.replaceable_recurrence import find_replaceable_recurrence, require_cells_fit


@final
class Lstm(Remedy):
    """Puts long short-term memory in the place of vanilla recurrent layers: a memory that only its forget gate can shrink.

    Does: every nn.RNN becomes an LSTM and every nn.RNNCell an LSTM cell of the same sizes and settings (layers, directions,
        dropout, bias, batch_first), inside an adapter that takes and returns the hidden state alone, so that the code around it
        stays as it is. Keys of the state_dict keep their names; the tensors under them have four times the rows. Weights and
        biases are drawn from U(-1/sqrt(h), 1/sqrt(h)), torch's own scale, but for the forget gate's, whose two biases add up to
        1. The cell state is kept beside each hidden state: it goes on where that comes back, as it was, detached, or in part
        (the next chunk, the next step of a loop, a decoder that takes an encoder's state). Any other beginning, such as a
        learned one, starts both states. Left alone: gated layers, subclasses, frozen layers, weights that are computed
        (weight_norm) or shared with other layers, loops over layers that are no cell. The new parameters take the old ones'
        places in the optimizer if it is given; otherwise build the optimizer afterwards.
        A cell of your own class, called as cell(x, h) or cell(h, x) for the next h, becomes such an LSTM cell too. With inputs=
        it is told by its calls: the state is what it returned before, as it came out, and no gate is in it. Without, it has to
        compute an activation of one sum, W x + U h + b, and say by a name (h, hidden, state; ...Cell) that it is a cell.
    Helps: memory over many steps, together with forget-bias and inputs=, which set its time scale: on the adding problem over
        100 steps (64 units, 1500 steps of Adam at 2e-3) the error falls to .0018, .0028 and .0030 with three seeds, where the
        vanilla network stays at .167, which is chance. Alone, with forget bias 1, it stayed there too.
        Spoken digits over 64 frames, with a hand-written cell of 64 units (400 steps, three seeds): accuracy .51, .51 and .55
        without forget-bias, where that cell has .09, .14 and .11.
    Harms: what the recurrence had learned is lost, and a saved state_dict of the old network no longer fits. Where a loop alters
        the state between two steps (dropout, a mask, a normalisation, a copy) the cell state cannot follow, and each step starts
        from the hidden state: with inputs= that is refused; take gru there. All that a hand-written cell did besides (a
        normalisation inside it) goes with it, and code that reads its layers (cell.h2h) ends in an error; in the network's own
        forward that is found with inputs=, and refused.
    Cost: four times the weights and multiplications of the recurrent layers. torch.compile runs the adapters uncompiled.
    References: Hochreiter and Schmidhuber 1997; Gers et al. 2000; Jozefowicz et al. 2015; Pascanu et al. 2013, arXiv 1211.5063.
    """

    name: ClassVar[str] = "lstm"
    family: ClassVar[str] = "architecture"
    summary: ClassVar[str] = "an LSTM in the place of nn.RNN and of hand-written cells, with the same interface"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-through-time", "exploding-through-time", "vanishing-gradient")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One replacement a module. Raises NotApplicable where the network has no vanilla recurrence in a module of its own, alters
        the state between its steps, or uses a hand-written cell for more than steps."""
        recurrence = find_replaceable_recurrence(network, context, remedy=self.name)
        altered = [path for path, cell, _ in recurrence.cells if cell.state_is_copied]
        if context.inputs is not None:
            altered += modules_with_altered_state(network, context.inputs)
        if altered:
            raise NotApplicable(
                f"lstm: {altered[0]!r} is given a state that was altered since it came out (dropout, a mask, a normalisation, a "
                "copy), and the cell state of an LSTM could not follow; apply gru, which has no second state"
            )
        states, new_by_old = CellStates(), dict[nn.Parameter, nn.Parameter]()
        operations: list[Operation] = []
        for path, old, places in recurrence.modules:
            new = create_uninitialised(LSTMAsRNN if isinstance(old, nn.RNN) else LSTMCellAsRNNCell, old, states=states)
            tie_parameters(new, old, new_by_old)
            operations.append(ReplacedRecurrence(path, old, new, places, _fills(new, context.generator)))
        cell_operations = [
            replace_cell(
                path,
                cell,
                new := cell.create_uninitialised(LSTMCellAsRNNCell, states=states),
                places,
                _fills(new, context.generator),
            )
            for path, cell, places in recurrence.cells
        ]
        if cell_operations and context.inputs is not None:
            require_cells_fit(network, context.inputs, cell_operations, remedy=self.name)
        return (*operations, *cell_operations)


def _fills(module: nn.LSTM | nn.LSTMCell, generator: torch.Generator) -> tuple[tuple[nn.Parameter, Fill], ...]:
    hidden = module.hidden_size
    uniform = functools.partial(recurrent_uniform_, hidden=hidden, generator=generator)

    def with_bias(forget: float) -> Fill:
        def fill(bias: Tensor) -> Tensor:
            return forget_bias_(uniform(bias), hidden=hidden, total=forget)

        return fill

    return tuple(
        (parameter, fill)
        for level in layer_parameters(module)
        for parameter, fill in (
            (level.weight_ih, uniform),
            (level.weight_hh, uniform),
            (level.bias_ih, with_bias(FORGET_BIAS)),
            (level.bias_hh, with_bias(0.0)),
        )
        if parameter is not None
    )
