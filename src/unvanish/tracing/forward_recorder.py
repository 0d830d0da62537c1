"""Records one forward pass and its loss: which operation made which nodes of the autograd graph, and from which line.

A torch function mode sees every torch function, and a pair of global hooks every module. Operations that torch does not show
(custom autograd functions, scripted code) are read off the graph when their results are next used. No value is changed.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode

from unvanish import source_location
from unvanish.monkey_patch import CallablePatch
from unvanish.record.structure import Location
from unvanish.source_location import FileLine
from unvanish.tracing.autograd_graph import Node, NodeOutput, is_leaf_node
from unvanish.tracing.log_magnitude import mean_and_std
from unvanish.tracing.operation_kinds import LOSSES, RECURRENCES, node_operation, operation_name

COMPOSITES = RECURRENCES | LOSSES | {"multi_head_attention_forward"}  # one call of several operations, which the graph tells apart
IN_PLACE = frozenset({"setitem", "index_put"})
# Activations with a setting that theory needs: our name of it, torch's name of the argument, and torch's default.
ACTIVATION_SETTINGS = (("leaky_relu", "slope", "negative_slope", 0.01), ("elu", "alpha", "alpha", 1.0))
GRADIENT_ENDING = frozenset({"detach", "data", "argmax", "argmin", "round", "sign", "one_hot"})
TRACE_FILE = str(Path(__file__).with_name("tracer.py"))  # frames from there outwards are outside of the pass


@dataclass(slots=True)
class OperationCall:
    """One operation as it ran.

    `module_call` is the index of the module call that it ran in, and `path` that module's path. `outputs` are its outputs in the
    graph, `mean` and `std` are of the first one. `is_composite` says whether the graph shows several operations for it,
    `is_observed` whether torch showed the call: else it was read off the graph.
    """

    module_call: int
    path: str
    operation: str
    user_line: FileLine | None
    in_loss: bool
    is_composite: bool = False
    is_observed: bool = True
    outputs: list[NodeOutput] = field(default_factory=list[NodeOutput])
    mean: float = float("nan")
    std: float = float("nan")
    settings: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """One run of a module, with the operations that ran in it directly; `module` is None for the code around the network."""

    path: str
    module: nn.Module | None
    calls: list[OperationCall]


@dataclass(frozen=True, slots=True)
class GradientBreak:
    """An operation that took tensors with a gradient and returned one without."""

    path: str
    operation: str
    location: Location | None


class ForwardRecorder(TorchFunctionMode):
    """Records the pass that runs inside its `with` block.

    `calls` and `module_calls` are in the order in which they ran. `call_of_node` maps nodes of the autograd graph to the operation
    that made them. `breaks` are the operations at which a gradient ends. `tensor_hooks` are the user's hooks, by tensor;
    `argument_positions` says which arguments of a custom function were tensors. `inputs` are the network's inputs in the graph,
    `embedding_outputs` the outputs of embeddings, each with the address of the storage that held its indices. Set `in_loss` once
    the network has run.
    """

    def __init__(self, model: nn.Module, build_location: Callable[[nn.Module], Location | None]) -> None:
        """`build_location` gives the line that built a module, None where it is not known."""
        super().__init__()
        self.calls: list[OperationCall] = []
        self.module_calls: list[ModuleCall] = [ModuleCall("", None, [])]
        self.call_of_node: dict[Node, OperationCall] = {}
        self.breaks: list[GradientBreak] = []
        self.tensor_hooks: dict[NodeOutput, list[Callable[[Tensor], Tensor | None]]] = {}
        self.argument_positions: dict[Node, tuple[int, ...]] = {}
        self.inputs: list[NodeOutput] = []
        self.embedding_outputs: list[tuple[NodeOutput, int]] = []
        self.in_loss = False
        self._build_location = build_location
        self._paths = {module: path for path, module in model.named_modules()}
        self._stack = [0]  # indices of the module calls in progress
        self._custom_depth = 0  # custom functions in progress
        self._cleanup = ExitStack()

    def __enter__(self) -> ForwardRecorder:
        self._cleanup.enter_context(_global_module_hooks(self._begin_module, self._end_module))
        self._cleanup.enter_context(_custom_function_hook(self._record_custom_function, self._change_custom_depth))
        super().__enter__()
        return self

    def __exit__(self, *fault: Any) -> None:
        super().__exit__(*fault)
        self._cleanup.close()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.__name__
        operation = operation_name(func.__self__.__name__ if name == "__get__" else name)
        if operation == "register_hook":
            return self._record_tensor_hook(func, args, kwargs)
        arguments = list(nested_tensors(args)) + list(nested_tensors(kwargs.values()))
        with_gradient = [tensor for tensor in arguments if tensor.requires_grad]
        for tensor in with_gradient:
            self.record_unobserved(tensor)
        if operation in RECURRENCES:
            with _unfused_recurrences():
                result = func(*args, **kwargs)
        else:
            result = func(*args, **kwargs)
        outputs = self._new_tensors(result)
        if operation in IN_PLACE and arguments and self._is_new(arguments[0]):
            outputs.append(arguments[0])
        if outputs:
            call = self._record_call(operation, outputs, is_composite=operation in COMPOSITES)
            call.settings = _activation_settings(operation, args, kwargs)
            if operation.startswith("embedding"):
                indices = next((t.untyped_storage().data_ptr() for t in arguments if not t.is_floating_point()), 0)
                self.embedding_outputs.extend(((tensor.grad_fn, tensor.output_nr), indices) for tensor in outputs)
        elif self._is_gradient_end(operation, with_gradient):
            self._record_break(operation, result)
        return result

    def location(self, call: OperationCall) -> Location | None:
        """The user's line that called the operation, or else the one that built its module.

        The line that built the module comes first where a module without children ran this operation only.
        """
        module_call = self.module_calls[call.module_call]
        if module_call.module is None:
            return source_location.read_location(call.user_line)
        built = self._build_location(module_call.module)
        is_only_operation = len(module_call.calls) == 1 and not next(module_call.module.children(), None)
        return built if built is not None and is_only_operation else source_location.read_location(call.user_line) or built

    def mark_inputs(self, inputs: list[Tensor]) -> None:
        """Registers the network's inputs, so that the nodes that made them belong to no operation of the network."""
        outside = OperationCall(0, "", "input", None, in_loss=False)
        self.inputs = [(tensor.grad_fn, tensor.output_nr) for tensor in inputs]
        self.call_of_node.update((node, outside) for node, _ in self.inputs)

    def record_unobserved(self, tensor: Tensor) -> None:
        """Records the operation that made a tensor from the graph, where torch did not show it."""
        node: Node = tensor.grad_fn
        if node is not None and node not in self.call_of_node:
            self._record_call(node_operation(node.name()), [tensor], is_composite=True, is_observed=False)

    def _is_new(self, tensor: Tensor) -> bool:
        """Whether a tensor was made by a node that belongs to no recorded operation yet."""
        return tensor.grad_fn is not None and tensor.grad_fn not in self.call_of_node

    def _new_tensors(self, result: Any) -> list[Tensor]:
        return [tensor for tensor in nested_tensors((result,)) if self._is_new(tensor)]

    def _record_call(
        self, operation: str, outputs: list[Tensor], *, is_composite: bool = False, is_observed: bool = True
    ) -> OperationCall:
        index = self._stack[-1]
        module_call = self.module_calls[index]
        line = self._find_user_line()
        call = OperationCall(index, module_call.path, operation, line, self.in_loss, is_composite, is_observed)
        call.mean, call.std = mean_and_std(outputs[0])
        for tensor in outputs:
            call.outputs.append((tensor.grad_fn, tensor.output_nr))
            self._assign_nodes(tensor.grad_fn, call)
        self.calls.append(call)
        module_call.calls.append(call)
        return call

    def _assign_nodes(self, node: Node, call: OperationCall) -> None:
        """Assigns a node, and all that it depends on and that belongs to no operation yet, to a call."""
        stack = [node]
        while stack:
            node = stack.pop()
            if node in self.call_of_node or is_leaf_node(node):
                continue
            self.call_of_node[node] = call
            stack.extend(source for source, _ in node.next_functions if source is not None)

    def _change_custom_depth(self, change: int) -> None:
        self._custom_depth += change

    def _record_custom_function(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        for tensor in nested_tensors(args):
            self.record_unobserved(tensor)
        outputs = self._new_tensors(result)
        if outputs:
            self.argument_positions[outputs[0].grad_fn] = tuple(i for i, value in enumerate(args) if isinstance(value, Tensor))
            self._record_call(node_operation(name), outputs)

    def _record_tensor_hook(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, hook = args[0], (*args[1:], *kwargs.values())[0]
        if tensor.grad_fn is not None:
            self.tensor_hooks.setdefault((tensor.grad_fn, tensor.output_nr), []).append(hook)
        return func(*args, **kwargs)

    def _is_gradient_end(self, operation: str, with_gradient: list[Tensor]) -> bool:
        """Whether a gradient through one of the tensors ends here. Operations on bare parameters are upkeep, and do not count."""
        is_on_path = any(tensor.grad_fn is not None for tensor in with_gradient) and not self._custom_depth
        return is_on_path and (operation in GRADIENT_ENDING or not torch.is_grad_enabled())

    def _record_break(self, operation: str, result: Any) -> None:
        is_constant = any(t.is_floating_point() and not t.requires_grad for t in nested_tensors((result,)))
        if is_constant or operation == "argmax":
            path = self.module_calls[self._stack[-1]].path
            self.breaks.append(GradientBreak(path, operation, source_location.read_location(self._find_user_line())))

    def _find_user_line(self) -> FileLine | None:
        """The user's line within the pass; None where torch's own containers run it all."""
        frame = inspect.currentframe()
        while frame is not None and frame.f_code.co_filename != TRACE_FILE:
            if source_location.is_user_code(frame.f_code):
                return frame.f_code.co_filename, frame.f_lineno
            frame = frame.f_back
        return None

    def _begin_module(self, module: nn.Module, _args: Any) -> None:
        path = self._paths.get(module)
        if path is not None:
            self.module_calls.append(ModuleCall(path, module, []))
            self._stack.append(len(self.module_calls) - 1)

    def _end_module(self, module: nn.Module, _args: Any, output: Any) -> None:
        if module in self._paths and len(self._stack) > 1:
            for tensor in nested_tensors((output,)):
                self.record_unobserved(tensor)  # scripted code shows its results only
            self._stack.pop()


def _activation_settings(operation: str, args: Any, kwargs: Any) -> tuple[tuple[str, float], ...]:
    """The name and value of the setting that an activation was called with; none for others."""
    for known, setting, argument, default in ACTIVATION_SETTINGS:
        if operation == known:
            value = kwargs.get(argument, args[1] if len(args) > 1 else default)
            return ((setting, float(value)),)
    return ()


def nested_tensors(values: Any) -> Iterator[Tensor]:
    """The tensors among values, including those in tuples and lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from nested_tensors(value)


def operation_labeller(module_calls: list[ModuleCall], network_name: str) -> Callable[[OperationCall, str], str]:
    """A function that gives each operation a unique label, to be called in the order of the forward pass.

    The label is the module's path, or "block.1:relu" where the module runs several operations or is not torch's own; from the
    second one on with a number: "block.1:relu#2".
    """
    counts: Counter[str] = Counter()

    def label(call: OperationCall, operation: str) -> str:
        module_call = module_calls[call.module_call]
        is_single = len(module_call.calls) == 1 and not call.is_composite and call.is_observed and module_call.module is not None
        is_torch_module = is_single and type(module_call.module).__module__.startswith("torch.nn")
        prefix = "loss" if call.in_loss and not call.path else call.path or network_name
        name = call.path if is_torch_module and call.path else f"{prefix}:{operation}"
        counts[name] += 1
        return name if counts[name] == 1 else f"{name}#{counts[name]}"

    return label


@contextmanager
def _unfused_recurrences() -> Generator[None]:
    """Recurrent layers run one time step after another, since one fused kernel would hide the time steps in the graph."""
    enabled = torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled
    torch.backends.mkldnn.enabled = torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled = enabled


@contextmanager
def _global_module_hooks(begin: Callable[..., None], end: Callable[..., None]) -> Generator[None]:
    handles = [
        module_hooks.register_module_forward_pre_hook(begin),
        module_hooks.register_module_forward_hook(end, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _custom_function_hook(
    on_call: Callable[[str, tuple[Any, ...], Any], None], change_depth: Callable[[int], None]
) -> Generator[None]:
    """Calls `on_call` after every use of a custom `autograd.Function`, which torch shows to no function mode."""

    def apply(original: Callable[..., Any], cls: Any, /, *args: Any, **kwargs: Any) -> Any:
        change_depth(1)
        try:
            result = original(cls, *args, **kwargs)
        finally:
            change_depth(-1)
        on_call(cls.__name__, args, result)
        return result

    with CallablePatch(torch.autograd.Function, "apply", apply):
        yield
