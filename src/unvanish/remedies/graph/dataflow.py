"""Builds the forward graph from one forward pass of a copy of the network on an example batch.

Real tensors pass through, so it also works where torch.fx cannot trace: branches on values, loops over the length of a sequence.
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

from unvanish.remedies.graph.call_sites import find_call_site
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.model_copy import model_copy, module_paths, without_side_effects
from unvanish.remedies.graph.shape_probe import call_with_inputs, inputs_error
from unvanish.remedies.graph.signal_kinds import ARITHMETIC, Kind, is_one_operation, kind_of, kind_of_call, op_name


def trace_with_inputs(network: nn.Module, inputs: Any) -> ForwardGraph:
    """The forward graph of one pass in evaluation mode on `inputs`, run on a copy of the network.

    Cost: a copy of the network and a forward pass. Raises UsageError where the network does not accept the inputs.
    """
    try:
        with without_side_effects():
            network_copy = model_copy(network)
            recorder = _DataflowRecorder(network, network_copy)
            with recorder, recorder.module_hooks():
                recorder.record_output(call_with_inputs(network_copy, inputs, before_run=recorder.record_inputs))
    except Exception as error:  # the user's forward may raise anything
        raise inputs_error(network, error) from error
    return ForwardGraph.from_steps(recorder.steps, is_traced=True)


class _DataflowRecorder(TorchFunctionMode):
    """Records the steps of a forward pass, and which step produced which tensor. It keeps all tensors alive as long as it lives."""

    def __init__(self, network: nn.Module, network_copy: nn.Module) -> None:
        super().__init__()
        self.steps: list[GraphStep] = []
        self._network = network
        self._network_copy = network_copy
        self._paths = module_paths(network_copy)
        self._parameters = {id(tensor): path for path, tensor in (*network_copy.named_parameters(), *network_copy.named_buffers())}
        self._producers: dict[int, int] = {}
        self._alive: list[Tensor] = []
        self._running: list[nn.Module] = []

    def record_inputs(self, batch: Any) -> None:
        """Adds a placeholder step for each input tensor."""
        for tensor in _tensors(batch):
            self._add(GraphStep("", "placeholder", Kind.OTHER), tensor)

    def record_output(self, result: Any) -> None:
        """Adds the output step."""
        self.steps.append(GraphStep("", "output", Kind.OTHER, self._sources(result)))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        keywords = kwargs or {}
        result = func(*args, **keywords)
        if self._running and is_one_operation(self._running[-1]):
            return result
        sources = self._sources((args, keywords))
        name = str(getattr(func, "__name__", ""))
        outputs = _tensors(result)
        if not outputs or not sources:
            return result
        if name == "__get__":  # an attribute such as x.T: no call in the source
            for tensor in outputs:
                self._set_producer(tensor, sources[-1])
            return result
        op = op_name(name)
        kind = kind_of_call(op)
        signals = [source for source in sources if self.steps[source].op != PARAMETER]
        if op in ARITHMETIC and len(signals) < 2:  # with a number or a learned scale: no second signal comes in
            kind = Kind.NEUTRAL
        site = find_call_site(inspect.currentframe(), self._paths, is_method_call=getattr(torch.Tensor, name, None) is func)
        path = self._paths.get(self._running[-1], "") if self._running else ""
        has_default_arguments = len(args) + len(keywords) - ("inplace" in keywords) == 1
        self._add(GraphStep(path, op, kind, sources, site=site, has_default_arguments=has_default_arguments), *outputs)
        return result

    @contextmanager
    def module_hooks(self) -> Generator[None]:
        """Hooks on all modules of the copy, inside the context, that record which modules run."""
        handles = []
        for module in self._network_copy.modules():
            handles.append(module.register_forward_pre_hook(self._enter_module, prepend=True))
            handles.append(module.register_forward_hook(self._leave_module, with_kwargs=True, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter_module(self, module: nn.Module, args: Any) -> None:
        del args
        if not (self._running and is_one_operation(self._running[-1])):
            self._running.append(module)

    def _leave_module(self, module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        if not self._running or self._running[-1] is not module:
            return
        self._running.pop()
        if not is_one_operation(module):
            return
        path = self._paths[module]
        original = self._network.get_submodule(path)
        site = find_call_site(inspect.currentframe(), self._paths, is_method_call=False)
        step = GraphStep(path, op_name(type(original).__name__), kind_of(original), self._sources((args, kwargs)), original, site)
        self._add(step, *_tensors(result))

    def _sources(self, values: Any) -> tuple[int, ...]:
        return tuple(dict.fromkeys(position for tensor in _tensors(values) if (position := self._producer(tensor)) is not None))

    def _producer(self, tensor: Tensor) -> int | None:
        if id(tensor) in self._parameters and id(tensor) not in self._producers:
            self._add(GraphStep(self._parameters[id(tensor)], PARAMETER, Kind.OTHER), tensor)
        return self._producers.get(id(tensor))

    def _add(self, step: GraphStep, *outputs: Tensor) -> None:
        self.steps.append(step)
        for tensor in outputs:
            self._set_producer(tensor, len(self.steps) - 1)

    def _set_producer(self, tensor: Tensor, position: int) -> None:
        self._producers[id(tensor)] = position
        self._alive.append(tensor)  # while it is alive, no other tensor gets its id


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
