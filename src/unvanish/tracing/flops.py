"""Counts the floating point operations of one forward and backward pass of a network while it runs once more.

Counted are matrix products, convolutions, attention and recurrences, a multiplication and an addition as two operations; what acts
on each number alone is left out, as is usual. The loss and the optimizer are not the network's, and not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from unvanish.tracing.inputs_and_loss import CallArguments, prepare_inputs
from unvanish.tracing.preserved_state import preserved_state

aten = torch.ops.aten

Formula = Callable[..., int]


def step_flops(model: nn.Module, arguments: CallArguments, output_gradients: Mapping[int, Tensor]) -> int | None:
    """The floating point operations of one call and of the gradients of its parameters; None where it cannot run or be counted.

    `output_gradients` are the gradients at the output's tensors by their position among these. The network's buffers, gradients and
    random state are left as they were. Cost: one training step, and some ten microseconds an operation.

    Example:
        A product of (3, 4) and (4, 2) takes 2 * 3 * 4 * 2 operations; the gradient of the weight takes as much.

        >>> step_flops(nn.Linear(4, 2), CallArguments((torch.ones(3, 4),), {}), {0: torch.ones(3, 2)})
        96
    """
    counter = _FlopCounter()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        with preserved_state(model):
            prepared = prepare_inputs(arguments)
            for tensor in prepared.differentiable:
                tensor.detach_()  # a step needs no gradient at its inputs
            with counter:
                outputs = pytree.tree_leaves(model(*prepared.args, **prepared.kwargs))
                tensors = [leaf for leaf in outputs if isinstance(leaf, Tensor)]
                # One number with these gradients: autograd.grad with grad_outputs would have torch load its symbolic algebra, which
                # takes a second.
                with_gradient = ((tensors[i], gradient) for i, gradient in output_gradients.items() if tensors[i].requires_grad)
                loss = torch.stack([(tensor * gradient).sum() for tensor, gradient in with_gradient]).sum()
                torch.autograd.grad(loss, parameters, allow_unused=True)
    except Exception:  # the user's code, or an operation that cannot be counted: one figure less, and no fault of the training
        return None
    return counter.total


@final
class _FlopCounter(TorchDispatchMode):
    """Adds up what each operation below autograd takes, by the formulas of torch's own counter.

    That one keeps track of every module as well, which makes it four times as slow.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self._primitives: set[Any] = set()  # operations that do not decompose into others
        self._formulas: Mapping[Any, Formula] = FlopCounterMode(display=False, custom_mapping=dict(FORMULAS)).flop_registry

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not needed, since compiled code runs eagerly here; torch would load its compiler for it, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        named = kwargs or {}
        formula = self._formulas.get(func.overloadpacket)
        if formula is None and func not in self._primitives:
            with self:
                parts = func.decompose(*args, **named)
            if parts is not NotImplemented:
                return parts
            self._primitives.add(func)
        result = func(*args, **named)
        if formula is not None:
            self.total += formula(*args, **named, out_val=result)
        return result


def _matrix_vector(matrix: Sequence[int], _vector: Sequence[int], **_: Any) -> int:
    return 2 * math.prod(matrix)


def _added_matrix_vector(_to: Sequence[int], matrix: Sequence[int], _vector: Sequence[int], **_: Any) -> int:
    return 2 * math.prod(matrix)


def _inner(a: Sequence[int], _b: Sequence[int], **_: Any) -> int:
    return 2 * math.prod(a)


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    """Two products: queries by keys (.., q, e) (.., e, k), and the weights by the values (.., q, k) (.., k, v)."""
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _attention_backward(
    _out: Sequence[int], query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any
) -> int:
    """Five products: the scores once more, and the gradients of weights, values, queries and keys."""
    return 2 * math.prod(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])


def _convolution_backward(out: Sequence[int], inputs: Sequence[int], weight: Sequence[int], *settings: Any, **_: Any) -> int:
    """As much as forward for each of the two gradients that is needed. torch's own formula takes groups for one."""
    _bias, _stride, _padding, _dilation, transposed, _output_padding, _groups, mask = settings
    positions = inputs[2:] if transposed else out[2:]
    return 2 * inputs[0] * math.prod(positions) * math.prod(weight) * (mask[0] + mask[1])


def _recurrence(inputs: Sequence[int], *weights: Any) -> int:
    """Each weight matrix times each step of each sequence."""
    steps = math.prod(inputs[:-1])
    return 2 * steps * sum(math.prod(shape) for shape in weights if len(shape) == 2)


def _mkldnn(inputs: Sequence[int], w0: Sequence[int], w1: Sequence[int], *_: Any, **__: Any) -> int:
    return _recurrence(inputs, w0, w1)


def _mkldnn_backward(inputs: Sequence[int], w0: Sequence[int], w1: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * _recurrence(inputs, w0, w1)  # for the weights, and for the inputs


def _cudnn(inputs: Sequence[int], weights: Sequence[Sequence[int]], *_: Any, **__: Any) -> int:
    return _recurrence(inputs, *weights)


def _cudnn_backward(inputs: Sequence[int], weights: Sequence[Sequence[int]], *_: Any, **__: Any) -> int:
    return 2 * _recurrence(inputs, *weights)


# Operations for which torch has no formula, or a wrong one. Each formula takes the shapes of the tensors.
FORMULAS: Mapping[Any, Formula] = {
    aten.mv: _matrix_vector,
    aten.addmv: _added_matrix_vector,
    aten.dot: _inner,
    aten.convolution_backward: _convolution_backward,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    aten.mkldnn_rnn_layer: _mkldnn,
    aten.mkldnn_rnn_layer_backward: _mkldnn_backward,
    aten._cudnn_rnn: _cudnn,
    aten._cudnn_rnn_backward: _cudnn_backward,
}
