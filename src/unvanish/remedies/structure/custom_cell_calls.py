"""Recognises a hand-written recurrent cell by its arguments and results as an example batch runs through a copy of the network.

A cell is called with an input and a state, and the state is a result of its own, unaltered (a copy of the last one is accepted).
What it computes does not matter, except that it depends on the two alone and has no gates.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.model_copy import model_copy, without_side_effects
from unvanish.remedies.graph.shape_probe import call_with_inputs, inputs_error
from unvanish.remedies.graph.signal_kinds import NORMALISATIONS, Kind
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.structure.custom_cells import CellNotReplaceable, CustomCell

_REPEATED_CALLS = 3
"""How many calls are repeated, on a fresh copy and in reverse order. A cell that counts its calls shows at the first."""
_GATE_ACTIVATIONS = frozenset({"sigmoid", "hardsigmoid"})
_BLENDING_CALLS = frozenset({"lerp", "addcmul"})

CallArguments: TypeAlias = tuple[Any, Any]


@dataclass(slots=True)
class CellCalls:
    """What the calls of one module in one forward pass tell about whether it is a cell.

    Arguments:
        argument_names: the names of the arguments of its forward.
        own_results: for each of the first two arguments, how many calls passed an unaltered result of the module.
        copied_positions: arguments that got a copy of the last result.
        altered_positions: arguments that got something else, other than an initial state.
        signatures: shapes and dtypes of both arguments and of the result, over all calls.
        repeatable_calls: arguments and result of the first few calls.
        objections: further reasons why it is not a cell.
        called_by_name: whether arguments were passed by name.
        last_result: a copy of the last result.
        first_arguments: the two arguments of the first call.
        returned_tensors: all results with their version counters, by memory; keeping them keeps their memory from reuse.
    """

    argument_names: tuple[str, ...]
    own_results: list[int] = field(default_factory=lambda: [0, 0])
    copied_positions: set[int] = field(default_factory=set[int])
    altered_positions: set[int] = field(default_factory=set[int])
    signatures: set[tuple[Any, ...]] = field(default_factory=set[tuple[Any, ...]])
    repeatable_calls: list[tuple[CallArguments, Tensor]] = field(default_factory=list[tuple[CallArguments, Tensor]])
    objections: list[str] = field(default_factory=list[str])
    called_by_name: bool = False
    last_result: Tensor | None = None
    first_arguments: list[Any] = field(default_factory=list[Any])
    returned_tensors: dict[tuple[Any, ...], tuple[Tensor, int]] = field(default_factory=dict[tuple[Any, ...], tuple[Tensor, int]])

    def record(self, arguments: Mapping[str, Any], result: Any, *, by_name: bool) -> None:
        """Adds one call."""
        self.called_by_name |= by_name
        values = [arguments.get(name) for name in self.argument_names[:2]]
        if any(arguments[name] is not None for name in arguments if name not in self.argument_names[:2]):
            self.objections.append("is given more than an input and a state")
        self.first_arguments.extend(values if not self.first_arguments else ())
        for position, value in enumerate(values):
            if self._is_own(value):
                self.own_results[position] += 1
            elif not _is_initial_state(value, self.first_arguments[position]):
                is_copy = self.last_result is not None and _is_equal(value, self.last_result)
                self.own_results[position] += is_copy
                (self.copied_positions if is_copy else self.altered_positions).add(position)
        self.signatures.add(tuple(_shape_and_dtype(tensor) for tensor in (*values, result)))
        self.last_result = result.clone() if isinstance(result, Tensor) else None
        if isinstance(result, Tensor) and len(self.repeatable_calls) < _REPEATED_CALLS:
            self.repeatable_calls.append(((_cloned(values[0]), _cloned(values[1])), result.clone()))
        if isinstance(result, (tuple, list)):
            self.objections.append("returns several values, where torch's cells return the state alone")
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor) and tensor.layout is torch.strided:
                self.returned_tensors[_memory_key(tensor)] = (tensor, _version(tensor))

    def _is_own(self, value: Any) -> bool:
        if not isinstance(value, Tensor) or value.layout is not torch.strided:
            return False
        return self.returned_tensors.get(_memory_key(value), (value, -1))[1] == _version(value)


def record_calls(network: nn.Module, inputs: Any, paths: Mapping[str, nn.Module]) -> dict[str, CellCalls]:
    """The calls of the modules at `paths` that take two arguments or more, in one forward pass, by path.

    Cost: a copy of the network and a forward pass. Raises UsageError where the network does not accept the inputs.
    """
    calls_by_path: dict[str, CellCalls] = {}
    try:
        with without_side_effects():
            network_copy = _copy_in_training_mode(network)
            for path in paths:
                module = network_copy.get_submodule(path)
                signature = inspect.signature(module.forward)
                if len(signature.parameters) > 1:
                    calls_by_path[path] = CellCalls(tuple(signature.parameters))
                    module.register_forward_hook(_recording_hook(signature, calls_by_path[path]), with_kwargs=True)
            call_with_inputs(network_copy, inputs)
    except Exception as error:  # the user's forward may raise anything
        raise inputs_error(network, error) from error
    return calls_by_path


def recognise_by_calls(module: nn.Module, calls: CellCalls) -> CustomCell:
    """The cell that the calls show. Raises CellNotReplaceable, with an empty message where no result ever came back to it."""
    if not any(calls.own_results):
        raise CellNotReplaceable
    if calls.objections:
        raise CellNotReplaceable(calls.objections[0])
    positions = [position for position in (0, 1) if calls.own_results[position] and position not in calls.altered_positions]
    if len(positions) != 1:
        altered = "is given a state that was altered since it came out (dropout, a mask, a copy)"
        raise CellNotReplaceable("is given results of its own in both places" if positions else altered)
    (state_position,) = positions
    features, hidden = _feature_and_hidden_sizes(calls, state_position)
    try:
        with without_side_effects():
            _require_reproducible(module, calls, state_position)
    except CellNotReplaceable:
        raise
    except Exception as error:  # the user's forward may raise anything
        raise CellNotReplaceable(f"cannot be run alone ({type(error).__name__}: {error})") from error
    if _is_gated(
        trace_graph(module, next(arguments for arguments, _ in calls.repeatable_calls if arguments[state_position] is not None))
    ):
        raise CellNotReplaceable("has gates already")
    return CustomCell(
        module,
        features,
        hidden,
        (calls.argument_names[0], calls.argument_names[1]),
        state_position,
        calls.called_by_name,
        state_position in calls.copied_positions,
    )


def _feature_and_hidden_sizes(calls: CellCalls, state_position: int) -> tuple[int, int]:
    """The numbers of features and hidden units. All calls must agree, with shapes (batch, features) and (batch, hidden)."""
    sizes: set[tuple[int, int]] = set()
    for *arguments, result in calls.signatures:
        signal, state = arguments[1 - state_position], arguments[state_position] or result
        if signal is None:
            raise CellNotReplaceable
        if not signal or not result or state != result or len(signal[0]) != 2 or len(result[0]) != 2 or signal[1] != result[1]:
            raise CellNotReplaceable("takes or returns something else than an input (batch, features) and a state (batch, hidden)")
        sizes.add((signal[0][1], result[0][1]))
    if len(sizes) > 1:
        raise CellNotReplaceable("takes inputs of several widths")
    return sizes.pop()


def _require_reproducible(module: nn.Module, calls: CellCalls, state_position: int) -> None:
    """Raises CellNotReplaceable where calls give other results on a fresh copy, or no state differs from a state of zeros."""
    network_copy = _copy_in_training_mode(module)
    for arguments, result in reversed(calls.repeatable_calls):
        tolerance = torch.finfo(result.dtype).eps ** 0.5
        outputs = [network_copy(*arguments)]
        if arguments[state_position] is None:
            outputs.append(
                network_copy(
                    *(torch.zeros_like(result) if position == state_position else value for position, value in enumerate(arguments))
                )
            )
        if not all(torch.allclose(value, result, rtol=tolerance, atol=tolerance) for value in outputs):
            raise CellNotReplaceable(
                "depends on more than its input and its state (dropout, a count of its calls, a start of its own)"
            )


def _is_gated(graph: ForwardGraph) -> bool:
    """Whether a sigmoid's result multiplies a signal, with no layer and no activation between."""
    for position_of_gate, step in graph.activations():
        queue, visited = list(graph.consumers[position_of_gate]) if step.op in _GATE_ACTIVATIONS else [], set[int]()
        while queue:
            position = queue.pop()
            kind, op = graph.steps[position].kind, graph.steps[position].op
            if kind is Kind.PRODUCT or op in _BLENDING_CALLS:
                return True
            if position not in visited and kind not in (Kind.WEIGHT, Kind.ACTIVATION):
                queue += graph.consumers[position]
            visited.add(position)
    return False


def _copy_in_training_mode(network: nn.Module) -> nn.Module:
    """A copy in training mode, so that dropout acts, but with normalisations in evaluation mode."""
    network_copy = model_copy(network)
    for module in network_copy.modules():
        module.training = not isinstance(module, NORMALISATIONS)
    return network_copy


def _recording_hook(signature: inspect.Signature, calls: CellCalls) -> Callable[[nn.Module, Any, Any, Any], None]:
    def hook(module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        del module
        calls.record(signature.bind(*args, **kwargs).arguments, result, by_name=bool(kwargs))

    return hook


def _is_initial_state(value: Any, first_value: Any) -> bool:
    """Whether a state starts a sequence: None, zeros, or the state with which the first sequence started."""
    if not isinstance(value, Tensor) or value is first_value:
        return value is None or value is first_value
    return not value.any() or _is_equal(value, first_value)


def _is_equal(first: Any, second: Any) -> bool:
    return isinstance(first, Tensor) and isinstance(second, Tensor) and first.dtype == second.dtype and torch.equal(first, second)


def _shape_and_dtype(value: Any) -> Any:
    """Shape and dtype of a floating-point tensor, None for None, and () for anything else."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return tuple(value.shape), value.dtype
    return None if value is None else ()


def _cloned(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _memory_key(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _version(tensor: Tensor) -> int:
    return tensor._version  # pyright: ignore[reportPrivateUsage]  # torch has no other name for it
