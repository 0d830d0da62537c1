"""Tells a hand-written recurrent cell by what goes in and comes out as an example batch runs through a copy of the network.

A cell is called with an input and a state, and the state is what it has returned before, just as it came out (a copy of the last
one will do). What it computes does not matter, but for this: it depends on the two alone, and has no gates. The network itself
never runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.kinds import NORMALISATIONS, Kind
from unvanish.remedies.graph.model_copy import model_copy, without_trace
from unvanish.remedies.graph.shape_probe import fed, misfit
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.structure.custom_cells import CustomCell, NoCell

_REPEATED = 3
"""How many calls are made again, on a fresh copy of the cell and in the other order. What counts its calls shows at the first."""
_GATES = frozenset({"sigmoid", "hardsigmoid"})
_BLENDS = frozenset({"lerp", "addcmul"})

Given: TypeAlias = tuple[Any, Any]


@dataclass(slots=True)
class Calls:
    """The calls of one module in one pass, as far as its being a cell depends on them.

    `handovers[at]` counts the calls with a result of its own at that place, unaltered, and `copied` are the places where that was
    a copy of the last one. `strange` are those that were given something else that is no beginning. `sizes` are the shapes of both
    arguments and of the result, over all calls, and `repeatable` the first few calls whole. `odd` says what else keeps it from
    being a cell, and `renamed` that names were used.
    """

    names: tuple[str, ...]
    handovers: list[int] = field(default_factory=lambda: [0, 0])
    copied: set[int] = field(default_factory=set[int])
    strange: set[int] = field(default_factory=set[int])
    sizes: set[tuple[Any, ...]] = field(default_factory=set[tuple[Any, ...]])
    repeatable: list[tuple[Given, Tensor]] = field(default_factory=list[tuple[Given, Tensor]])
    odd: list[str] = field(default_factory=list[str])
    renamed: bool = False
    last: Tensor | None = None
    first: list[Any] = field(default_factory=list[Any])
    returned: dict[tuple[Any, ...], tuple[Tensor, int]] = field(default_factory=dict[tuple[Any, ...], tuple[Tensor, int]])

    def note(self, given: Mapping[str, Any], result: Any, *, by_name: bool) -> None:
        """Takes in one call."""
        self.renamed |= by_name
        values = [given.get(name) for name in self.names[:2]]
        if any(given[name] is not None for name in given if name not in self.names[:2]):
            self.odd.append("is given more than an input and a state")
        self.first.extend(values if not self.first else ())
        for at, value in enumerate(values):
            if self._is_own(value):
                self.handovers[at] += 1
            elif not _is_beginning(value, self.first[at]):
                same = self.last is not None and _is_equal(value, self.last)
                self.handovers[at] += same
                (self.copied if same else self.strange).add(at)
        self.sizes.add(tuple(_size(each) for each in (*values, result)))
        self.last = result.clone() if isinstance(result, Tensor) else None
        if isinstance(result, Tensor) and len(self.repeatable) < _REPEATED:
            self.repeatable.append(((_kept(values[0]), _kept(values[1])), result.clone()))
        if isinstance(result, (tuple, list)):
            self.odd.append("returns several values, where torch's cells return the state alone")
        for each in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(each, Tensor) and each.layout is torch.strided:
                self.returned[_memory(each)] = (each, _version(each))  # kept, or another would take its memory

    def _is_own(self, value: Any) -> bool:
        if not isinstance(value, Tensor) or value.layout is not torch.strided:
            return False
        return self.returned.get(_memory(value), (value, -1))[1] == _version(value)


def calls(network: nn.Module, inputs: Any, paths: Mapping[str, nn.Module]) -> dict[str, Calls]:
    """The calls of the modules at some paths, of those that take two arguments. Cost: a copy of the network, and a pass.

    Raises UsageError where the network does not take the inputs.
    """
    seen: dict[str, Calls] = {}
    try:
        with without_trace():
            double = _rehearsing(network)
            for path in paths:
                module = double.get_submodule(path)
                signature = inspect.signature(module.forward)
                if len(signature.parameters) > 1:
                    seen[path] = Calls(tuple(signature.parameters))
                    module.register_forward_hook(_hook(signature, seen[path]), with_kwargs=True)
            fed(double, inputs)
    except Exception as fault:  # the user's forward may raise anything
        raise misfit(network, fault) from fault
    return seen


def recognised(module: nn.Module, seen: Calls) -> CustomCell:
    """What is known of a cell by its calls. Raises NoCell, without a word where no result of the module ever came back to it."""
    if not any(seen.handovers):
        raise NoCell
    if seen.odd:
        raise NoCell(seen.odd[0])
    places = [at for at in (0, 1) if seen.handovers[at] and at not in seen.strange]
    if len(places) != 1:
        altered = "is given a state that was altered since it came out (dropout, a mask, a copy)"
        raise NoCell("is given results of its own in both places" if places else altered)
    (state,) = places
    features, hidden = _widths(seen, state)
    try:
        with without_trace():
            _tried(module, seen, state)
    except NoCell:
        raise
    except Exception as fault:  # the user's forward may raise anything
        raise NoCell(f"cannot be run alone ({type(fault).__name__}: {fault})") from fault
    if _is_gated(trace_graph(module, next(given for given, _ in seen.repeatable if given[state] is not None))):
        raise NoCell("has gates already")
    return CustomCell(module, features, hidden, (seen.names[0], seen.names[1]), state, seen.renamed, state in seen.copied)


def _widths(seen: Calls, state: int) -> tuple[int, int]:
    """Features and hidden units: the same for all calls, in tensors of one type with rows for examples."""
    found: set[tuple[int, int]] = set()
    for *given, result in seen.sizes:
        signal, before = given[1 - state], given[state] or result
        if signal is None:
            raise NoCell
        if not signal or not result or before != result or len(signal[0]) != 2 or len(result[0]) != 2 or signal[1] != result[1]:
            raise NoCell("takes or returns something else than an input (batch, features) and a state (batch, hidden)")
        found.add((signal[0][1], result[0][1]))
    if len(found) > 1:
        raise NoCell("takes inputs of several widths")
    return found.pop()


def _tried(module: nn.Module, seen: Calls, state: int) -> None:
    """Raises NoCell where the calls, made again in reverse on a fresh copy, come out otherwise, or a start without a state is none
    from zeros."""
    double = _rehearsing(module)
    for given, result in reversed(seen.repeatable):
        tolerance = torch.finfo(result.dtype).eps ** 0.5
        again = [double(*given)]
        if given[state] is None:
            again.append(double(*(torch.zeros_like(result) if at == state else each for at, each in enumerate(given))))
        if not all(torch.allclose(each, result, rtol=tolerance, atol=tolerance) for each in again):
            raise NoCell("depends on more than its input and its state (dropout, a count of its calls, a start of its own)")


def _is_gated(layout: ForwardGraph) -> bool:
    """Whether a sigmoid's result scales something, with no layer and no activation between."""
    for start, step in layout.activations():
        queue, met = list(layout.consumers[start]) if step.op in _GATES else [], set[int]()
        while queue:
            here = queue.pop()
            kind, op = layout.steps[here].kind, layout.steps[here].op
            if kind is Kind.PRODUCT or op in _BLENDS:
                return True
            if here not in met and kind not in (Kind.WEIGHT, Kind.ACTIVATION):
                queue += layout.consumers[here]
            met.add(here)
    return False


def _rehearsing(network: nn.Module) -> nn.Module:
    """A copy in which dropout acts and batch statistics do not."""
    double = model_copy(network)
    for module in double.modules():
        module.training = not isinstance(module, NORMALISATIONS)
    return double


def _hook(signature: inspect.Signature, seen: Calls) -> Callable[[nn.Module, Any, Any, Any], None]:
    def hook(module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        del module
        seen.note(signature.bind(*args, **kwargs).arguments, result, by_name=bool(kwargs))

    return hook


def _is_beginning(value: Any, first: Any) -> bool:
    """Whether a state starts a sequence: none, zeros, or the one that the first sequence started with."""
    if not isinstance(value, Tensor) or value is first:
        return value is None or value is first
    return not value.any() or _is_equal(value, first)


def _is_equal(one: Any, two: Any) -> bool:
    return isinstance(one, Tensor) and isinstance(two, Tensor) and one.dtype == two.dtype and torch.equal(one, two)


def _size(value: Any) -> Any:
    """The shape and the type of a tensor of numbers, None for None, and empty for anything else."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return tuple(value.shape), value.dtype
    return None if value is None else ()


def _kept(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _version(tensor: Tensor) -> int:
    return tensor._version  # pyright: ignore[reportPrivateUsage]  # torch has no other name for it
