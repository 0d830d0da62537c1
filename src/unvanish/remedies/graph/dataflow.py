"""Follows an example batch through a stand-in: which operation takes the result of which. The network itself never runs.

It sees what torch.fx cannot follow, since it works with real tensors: branches on values, loops over the length of a sequence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from unvanish.remedies.graph.call_sites import call_site
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.kinds import ARITHMETIC, Kind, is_one_operation, kind_of, kind_of_call, op_name
from unvanish.remedies.graph.model_copy import model_copy, paths_of, without_trace
from unvanish.remedies.graph.shape_probe import fed, misfit


def followed(network: nn.Module, inputs: Any) -> ForwardGraph:
    """The layout of one forward pass in evaluation mode. Cost: a copy of the network, and a pass. Raises UsageError where the
    network does not take the inputs."""
    try:
        with without_trace():
            double = model_copy(network)
            trail = _Trail(network, double)
            with trail, trail.hooked():
                trail.leave(fed(double, inputs, first=trail.enter))
    except Exception as fault:  # the user's forward may raise anything
        raise misfit(network, fault) from fault
    return ForwardGraph.of(trail.steps, traced=True)


class _Trail(TorchFunctionMode):
    """The steps of a forward pass so far, and which of them made which tensor. It keeps all tensors until it is dropped."""

    def __init__(self, network: nn.Module, double: nn.Module) -> None:
        super().__init__()
        self.steps: list[GraphStep] = []
        self._network = network
        self._double = double
        self._paths = paths_of(double)
        self._parameters = {id(tensor): path for path, tensor in (*double.named_parameters(), *double.named_buffers())}
        self._makers: dict[int, int] = {}
        self._kept: list[Tensor] = []
        self._inside: list[nn.Module] = []

    def enter(self, batch: Any) -> None:
        """Takes in the tensors that the pass begins with."""
        for tensor in _tensors(batch):
            self._add(GraphStep("", "placeholder", Kind.OTHER), tensor)

    def leave(self, result: Any) -> None:
        """Takes in what the pass ended with."""
        self.steps.append(GraphStep("", "output", Kind.OTHER, self._sources(result)))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        given = kwargs or {}
        result = func(*args, **given)
        if self._inside and is_one_operation(self._inside[-1]):
            return result
        sources = self._sources((args, given))
        name = str(getattr(func, "__name__", ""))
        made = _tensors(result)
        if not made or not sources:
            return result
        if name == "__get__":  # an attribute such as x.T: no call in the source
            for tensor in made:
                self._note(tensor, sources[-1])
            return result
        op = op_name(name)
        kind = kind_of_call(op)
        signals = [source for source in sources if self.steps[source].op != PARAMETER]
        if op in ARITHMETIC and len(signals) < 2:  # with a number or a learned scale: no second signal comes in
            kind = Kind.NEUTRAL
        site = call_site(inspect.currentframe(), self._paths, receiver=getattr(torch.Tensor, name, None) is func)
        path = self._paths.get(self._inside[-1], "") if self._inside else ""
        plain = len(args) + len(given) - ("inplace" in given) == 1
        self._add(GraphStep(path, op, kind, sources, site=site, plain=plain), *made)
        return result

    @contextmanager
    def hooked(self) -> Generator[None]:
        """Keeps account of the modules that run, while the context lasts."""
        handles = []
        for module in self._double.modules():
            handles.append(module.register_forward_pre_hook(self._enter_module, prepend=True))
            handles.append(module.register_forward_hook(self._leave_module, with_kwargs=True, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter_module(self, module: nn.Module, args: Any) -> None:
        del args
        if not (self._inside and is_one_operation(self._inside[-1])):
            self._inside.append(module)

    def _leave_module(self, module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        if not self._inside or self._inside[-1] is not module:
            return
        self._inside.pop()
        if not is_one_operation(module):
            return
        path = self._paths[module]
        real = self._network.get_submodule(path)
        site = call_site(inspect.currentframe(), self._paths, receiver=False)
        step = GraphStep(path, op_name(type(real).__name__), kind_of(real), self._sources((args, kwargs)), real, site)
        self._add(step, *_tensors(result))

    def _sources(self, values: Any) -> tuple[int, ...]:
        return tuple(dict.fromkeys(at for tensor in _tensors(values) if (at := self._maker(tensor)) is not None))

    def _maker(self, tensor: Tensor) -> int | None:
        if id(tensor) in self._parameters and id(tensor) not in self._makers:
            self._add(GraphStep(self._parameters[id(tensor)], PARAMETER, Kind.OTHER), tensor)
        return self._makers.get(id(tensor))

    def _add(self, step: GraphStep, *made: Tensor) -> None:
        self.steps.append(step)
        for tensor in made:
            self._note(tensor, len(self.steps) - 1)

    def _note(self, tensor: Tensor, at: int) -> None:
        self._makers[id(tensor)] = at
        self._kept.append(tensor)  # an id means a tensor only as long as it lives


def _tensors(values: Any) -> list[Tensor]:
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]
