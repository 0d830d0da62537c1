"""Finds out how a network's operations follow each other, on a stand-in. It never runs the network itself.

torch.fx follows the user's `forward` with placeholders for tensors, which also shows calls such as `F.relu(x)`. Where that
is impossible (a branch on a tensor's value, a loop over its length), an example batch is followed through the network, if there
is one. Without, the order has to do in which the modules were registered.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, fx, nn

from unvanish.remedies.graph.call_sites import call_site
from unvanish.remedies.graph.dataflow import followed
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.kinds import ARITHMETIC, Kind, is_one_operation, kind_of, kind_of_call, op_name
from unvanish.remedies.graph.model_copy import model_copy, paths_of, without_trace
from unvanish.remedies.graph.parameter_products import factor_of

_CALLS = ("call_function", "call_method")
_SITE = "unvanish_site"


def trace_graph(network: nn.Module, inputs: Any = None) -> ForwardGraph:
    """The network's layout: traced where possible, otherwise by the order of modules. Cost: about 0.2 ms an operation.

    Raises UsageError where `inputs` are needed and do not fit.
    """
    if is_one_operation(network):
        return _registered(network)
    try:
        with without_trace():
            double = model_copy(network, shared=network.parameters())
            graph = _Tracer(paths_of(double)).trace(double, concrete_args=_settings(double))
    except Exception:  # whatever the user's own forward raises when it meets a placeholder means only: cannot be traced
        return _registered(network) if inputs is None else followed(network, inputs)
    return _traced(graph, network)


class _Tracer(fx.Tracer):
    """torch.fx's tracer, which stops at the modules that are one operation to us, and notes where calls stand in the source."""

    def __init__(self, paths: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self._paths = paths

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        del module_qualified_name
        return is_one_operation(m)

    def create_proxy(self, kind: str, *args: Any, **kwargs: Any) -> fx.Proxy:  # pyright: ignore[reportIncompatibleMethodOverride]
        proxy = super().create_proxy(kind, *args, **kwargs)
        if kind in _CALLS or kind == "call_module":
            site = call_site(inspect.currentframe(), self._paths, receiver=kind == "call_method")
            proxy.node.meta[_SITE] = site
        return proxy


def _traced(graph: fx.Graph, network: nn.Module) -> ForwardGraph:
    position: dict[fx.Node, int] = {}
    steps: list[GraphStep] = []
    parameters = dict(network.named_parameters(remove_duplicate=False))
    for node in graph.nodes:
        position[node] = len(steps)
        sources = tuple(dict.fromkeys(position[source] for source in node.all_input_nodes))
        steps.append(_step(node, sources, network, parameters))
        if _works_in_place(node):  # what was one step's result until here is this one's from here on
            position |= dict.fromkeys(node.all_input_nodes[:1], position[node])
    return ForwardGraph.of(steps, traced=True)


def _step(node: fx.Node, sources: tuple[int, ...], network: nn.Module, parameters: Mapping[str, Tensor]) -> GraphStep:
    if node.op == "call_module":
        path = str(node.target)
        module = network.get_submodule(path)
        return GraphStep(path, op_name(type(module).__name__), kind_of(module), sources, module, node.meta.get(_SITE))
    if node.op in _CALLS:
        op = _called(node.target)
        kind = kind_of_call(op)
        signals = [source for source in node.all_input_nodes if source.op != "get_attr"]
        if op in ARITHMETIC and len(signals) < 2:  # with a number or a learned scale: no second signal comes in
            kind = Kind.NEUTRAL
        plain = len(node.args) + len(node.kwargs) - ("inplace" in node.kwargs) == 1
        factor = factor_of(node, op, parameters) if kind is Kind.WEIGHT else None
        return GraphStep(_caller(node), op, kind, sources, site=node.meta.get(_SITE), plain=plain, factor=factor)
    if node.op == "get_attr":
        return GraphStep(str(node.target), PARAMETER, Kind.OTHER, sources)
    return GraphStep("", op_name(node.op), Kind.OTHER, sources)


def _settings(network: nn.Module) -> dict[str, Any]:
    """The arguments of `forward` that a call leaves at a default which is no tensor, so that branches on them are known."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(network.forward).parameters.items():
        plain = parameter.default is None or isinstance(parameter.default, (bool, int, float, str))
        if plain and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            found[name] = parameter.default
    return found


def _works_in_place(node: fx.Node) -> bool:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op in _CALLS and name.endswith("_") and not name.endswith("__")


def _called(target: Any) -> str:
    return op_name(target if isinstance(target, str) else getattr(target, "__name__", ""))


def _caller(node: fx.Node) -> str:
    """The path of the module whose forward made a call."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def _registered(network: nn.Module) -> ForwardGraph:
    """The layout by the order in which modules were registered; a shared module counts under each of its names.

    An activation that hangs beside the last weighted layer, or beside a module that holds it, may run after it wherever it was
    registered, unless nn.Sequential fixes the order. It is doubtful.
    """
    steps = _ordered(network, [path for path, _ in network.named_modules(remove_duplicate=False)])
    last = next((step.path for step in reversed(steps) if step.kind is Kind.WEIGHT), "")
    loose = {path for path in ("", *_above(last)) if not isinstance(network.get_submodule(path), nn.Sequential)}
    return ForwardGraph.of(
        steps,
        traced=False,
        doubtful={i for i, s in enumerate(steps) if s.kind is Kind.ACTIVATION and s.path.rpartition(".")[0] in loose},
    )


def _ordered(network: nn.Module, paths: Iterable[str]) -> list[GraphStep]:
    """The modules that are one operation, in a given order, of which only neighbours in nn.Sequential are known to be joined."""
    modules = dict(network.named_modules(remove_duplicate=False))
    whole = {path for path, module in modules.items() if is_one_operation(module)}
    steps: list[GraphStep] = []
    last = ""
    for path in paths:
        module = modules[path]
        container = path not in whole and next(module.children(), None) is not None
        if container or not whole.isdisjoint(_above(path)):
            continue
        sources = (len(steps) - 1,) if steps and _in_sequence(last, path, network) else ()
        steps.append(GraphStep(path, op_name(type(module).__name__), kind_of(module), sources, module))
        last = path
    return steps


def _above(path: str) -> list[str]:
    """The paths of the modules that hold a module, the network itself aside."""
    parts = path.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _in_sequence(first: str, second: str, network: nn.Module) -> bool:
    """Whether two modules, neighbours in order, are joined by nn.Sequential alone."""
    one, two = first.split("."), second.split(".")
    depth = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), 0)
    containers = {".".join(path[:end]) for path in (one, two) for end in range(depth, len(path))}
    return all(isinstance(network.get_submodule(path), nn.Sequential) for path in containers)
