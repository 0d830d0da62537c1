"""Builds the forward graph of a network with torch.fx, an example batch, or the order of registration.

torch.fx runs the `forward` of a copy with placeholders for tensors, and so also sees calls such as `F.relu(x)`. Where that is
impossible (a branch on a tensor's value, a loop over its length), a copy runs on an example batch, if there is one. Without one,
the order in which modules were registered is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, fx, nn

from unvanish.remedies.graph.call_sites import find_call_site
from unvanish.remedies.graph.dataflow import trace_with_inputs
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.model_copy import model_copy, module_paths, without_side_effects
from unvanish.remedies.graph.parameter_products import find_parameter_factor
from unvanish.remedies.graph.signal_kinds import ARITHMETIC, Kind, is_one_operation, kind_of, kind_of_call, op_name

_CALL_OPS = ("call_function", "call_method")
_CALL_SITE_KEY = "unvanish_site"


def trace_graph(network: nn.Module, inputs: Any = None) -> ForwardGraph:
    """The network's forward graph: traced where possible, otherwise by the order in which modules were registered.

    Arguments:
        network: the network, of which only a copy runs.
        inputs: one batch, used where torch.fx cannot trace: a tensor, a tuple of positional or a dict of keyword arguments.

    Cost: about 0.2 ms an operation. Raises UsageError where `inputs` are needed and the network does not accept them.

    Example:
        >>> from torch import nn
        >>> graph = trace_graph(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
        >>> [step.op for step in graph.steps]
        ['placeholder', 'linear', 'relu', 'linear', 'output']
        >>> graph.hidden
        (True, True, True, False, False)
    """
    if is_one_operation(network):
        return _graph_by_registration(network)
    try:
        with without_side_effects():
            network_copy = model_copy(network, shared=network.parameters())
            fx_graph = _Tracer(module_paths(network_copy)).trace(network_copy, concrete_args=_default_settings(network_copy))
    except Exception:  # whatever the user's forward raises on placeholders only means that it cannot be traced
        return _graph_by_registration(network) if inputs is None else trace_with_inputs(network, inputs)
    return _graph_from_fx(fx_graph, network)


class _Tracer(fx.Tracer):
    """The tracer of torch.fx, with modules that are one operation as leaves, and with the source position of each call."""

    def __init__(self, paths: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self._paths = paths

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        del module_qualified_name
        return is_one_operation(m)

    def create_proxy(self, kind: str, *args: Any, **kwargs: Any) -> fx.Proxy:  # pyright: ignore[reportIncompatibleMethodOverride]
        proxy = super().create_proxy(kind, *args, **kwargs)
        if kind in _CALL_OPS or kind == "call_module":
            site = find_call_site(inspect.currentframe(), self._paths, is_method_call=kind == "call_method")
            proxy.node.meta[_CALL_SITE_KEY] = site
        return proxy


def _graph_from_fx(fx_graph: fx.Graph, network: nn.Module) -> ForwardGraph:
    position: dict[fx.Node, int] = {}
    steps: list[GraphStep] = []
    parameters = dict(network.named_parameters(remove_duplicate=False))
    for node in fx_graph.nodes:
        position[node] = len(steps)
        sources = tuple(dict.fromkeys(position[source] for source in node.all_input_nodes))
        steps.append(_step_from_node(node, sources, network, parameters))
        if _is_in_place(node):  # later readers of the tensor get this step's result
            position |= dict.fromkeys(node.all_input_nodes[:1], position[node])
    return ForwardGraph.from_steps(steps, is_traced=True)


def _step_from_node(node: fx.Node, sources: tuple[int, ...], network: nn.Module, parameters: Mapping[str, Tensor]) -> GraphStep:
    if node.op == "call_module":
        path = str(node.target)
        module = network.get_submodule(path)
        return GraphStep(path, op_name(type(module).__name__), kind_of(module), sources, module, node.meta.get(_CALL_SITE_KEY))
    if node.op in _CALL_OPS:
        op = _called_op(node.target)
        kind = kind_of_call(op)
        signals = [source for source in node.all_input_nodes if source.op != "get_attr"]
        if op in ARITHMETIC and len(signals) < 2:  # with a number or a learned scale: no second signal comes in
            kind = Kind.NEUTRAL
        has_default_arguments = len(node.args) + len(node.kwargs) - ("inplace" in node.kwargs) == 1
        parameter_factor = find_parameter_factor(node, op, parameters) if kind is Kind.WEIGHT else None
        return GraphStep(
            _calling_module_path(node),
            op,
            kind,
            sources,
            site=node.meta.get(_CALL_SITE_KEY),
            has_default_arguments=has_default_arguments,
            parameter_factor=parameter_factor,
        )
    if node.op == "get_attr":
        return GraphStep(str(node.target), PARAMETER, Kind.OTHER, sources)
    return GraphStep("", op_name(node.op), Kind.OTHER, sources)


def _default_settings(network: nn.Module) -> dict[str, Any]:
    """The arguments of `forward` whose default is not a tensor, with that default, so that branches on them can be traced."""
    settings: dict[str, Any] = {}
    for name, parameter in inspect.signature(network.forward).parameters.items():
        is_setting = parameter.default is None or isinstance(parameter.default, (bool, int, float, str))
        if is_setting and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            settings[name] = parameter.default
    return settings


def _is_in_place(node: fx.Node) -> bool:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op in _CALL_OPS and name.endswith("_") and not name.endswith("__")


def _called_op(target: Any) -> str:
    return op_name(target if isinstance(target, str) else getattr(target, "__name__", ""))


def _calling_module_path(node: fx.Node) -> str:
    """The path of the module whose forward made a call."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def _graph_by_registration(network: nn.Module) -> ForwardGraph:
    """The graph by the order in which modules were registered; a shared module appears under each of its names.

    An activation with the same parent as the last weighted layer, or as a module that contains it, may run after that layer
    wherever it was registered, unless nn.Sequential fixes the order. Such positions are uncertain.
    """
    steps = _steps_by_registration(network, [path for path, _ in network.named_modules(remove_duplicate=False)])
    last_weighted = next((step.path for step in reversed(steps) if step.kind is Kind.WEIGHT), "")
    unordered_parents = {
        path for path in ("", *_parent_paths(last_weighted)) if not isinstance(network.get_submodule(path), nn.Sequential)
    }
    return ForwardGraph.from_steps(
        steps,
        is_traced=False,
        uncertain={
            position
            for position, step in enumerate(steps)
            if step.kind is Kind.ACTIVATION and step.path.rpartition(".")[0] in unordered_parents
        },
    )


def _steps_by_registration(network: nn.Module, paths: Iterable[str]) -> list[GraphStep]:
    """The modules that are one operation, in a given order; only neighbours in nn.Sequential are connected."""
    modules = dict(network.named_modules(remove_duplicate=False))
    operations = {path for path, module in modules.items() if is_one_operation(module)}
    steps: list[GraphStep] = []
    last_path = ""
    for path in paths:
        module = modules[path]
        is_container = path not in operations and next(module.children(), None) is not None
        if is_container or not operations.isdisjoint(_parent_paths(path)):
            continue
        sources = (len(steps) - 1,) if steps and _is_joined_by_sequential(last_path, path, network) else ()
        steps.append(GraphStep(path, op_name(type(module).__name__), kind_of(module), sources, module))
        last_path = path
    return steps


def _parent_paths(path: str) -> list[str]:
    """The paths of the modules that contain a module, except the network itself."""
    parts = path.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _is_joined_by_sequential(first: str, second: str, network: nn.Module) -> bool:
    """Whether nn.Sequential alone connects two modules that are neighbours in order."""
    first_parts, second_parts = first.split("."), second.split(".")
    depth = next((index for index, (a, b) in enumerate(zip(first_parts, second_parts, strict=False)) if a != b), 0)
    containers = {".".join(path[:end]) for path in (first_parts, second_parts) for end in range(depth, len(path))}
    return all(isinstance(network.get_submodule(path), nn.Sequential) for path in containers)
