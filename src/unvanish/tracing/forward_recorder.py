"""Watches one forward pass and one loss: which operation made which node of the autograd graph, where, and what came out of it.

Every torch function is seen by a function mode and every module by a pair of hooks; operations that torch does not show (custom
autograd functions, scripted code) are found in the graph when their results are next used. It changes no value.
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
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

from unvanish import source_location
from unvanish.record.structure import Location
from unvanish.tracing.autograd_graph import Node, is_leaf
from unvanish.tracing.log_magnitude import mean_and_std
from unvanish.tracing.operation_kinds import LOSSES, RECURRENCES, canonical, graph_operation

COMPOSITES = RECURRENCES | LOSSES | {"multi_head_attention_forward"}  # one call of many operations, which the graph tells apart
IN_PLACE = frozenset({"setitem", "index_put"})
# Activations with a setting that theory needs: torch's name of it, and torch's default.
SETTINGS = (("leaky_relu", "slope", "negative_slope", 0.01), ("elu", "alpha", "alpha", 1.0))
ENDS_GRADIENT = frozenset({"detach", "data", "argmax", "argmin", "round", "sign", "one_hot"})


@dataclass(slots=True)
class Call:
    """One operation as it ran: who called it from where, the nodes it made, the mean and deviation of its first output."""

    module: int
    path: str
    operation: str
    place: tuple[str, int] | None
    in_loss: bool
    composite: bool = False
    seen: bool = True
    outputs: list[tuple[Node, int]] = field(default_factory=list[tuple[Node, int]])
    mean: float = float("nan")
    std: float = float("nan")
    settings: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Visit:
    """One run of a module: its path and class, and how many operations ran in it directly."""

    path: str
    module: nn.Module | None
    calls: list[Call]


@dataclass(frozen=True, slots=True)
class Break:
    """An operation that was given tensors with a gradient and gave back one without."""

    path: str
    operation: str
    location: Location | None


class Recorder(TorchFunctionMode):
    """Owner of one pass. Enter it around the pass; `calls`, `visits`, `owner` and `breaks` hold what was seen."""

    def __init__(self, model: nn.Module, births: Callable[[nn.Module], Location | None]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.visits: list[Visit] = [Visit("", None, [])]
        self.owner: dict[Node, Call] = {}
        self.breaks: list[Break] = []
        self.tensor_hooks: dict[tuple[Node, int], list[Callable[[Tensor], Tensor | None]]] = {}
        self.argument_places: dict[Node, tuple[int, ...]] = {}
        self.starts: list[tuple[Node, int]] = []
        self.embedded: list[tuple[tuple[Node, int], int]] = []
        self.in_loss = False
        self._births = births
        self._paths = {module: path for path, module in model.named_modules()}
        self._stack = [0]
        self._inside_custom = 0
        self._cleanup = ExitStack()

    def __enter__(self) -> Recorder:
        self._cleanup.enter_context(_hooked(self._begin, self._end))
        self._cleanup.enter_context(_custom_functions(self._custom, self._enter_custom))
        super().__enter__()
        return self

    def __exit__(self, *fault: Any) -> None:
        super().__exit__(*fault)
        self._cleanup.close()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.__name__
        operation = canonical(func.__self__.__name__ if name == "__get__" else name)
        if operation == "register_hook":
            return self._tensor_hook(func, args, kwargs)
        given = list(tensors(args)) + list(tensors(kwargs.values()))
        signals = [tensor for tensor in given if tensor.requires_grad]
        for tensor in signals:
            self._claim_unseen(tensor)
        if operation in RECURRENCES:
            with _step_by_step():
                result = func(*args, **kwargs)
        else:
            result = func(*args, **kwargs)
        made = [tensor for tensor in tensors((result,)) if tensor.grad_fn is not None and tensor.grad_fn not in self.owner]
        if operation in IN_PLACE and signals + given and given[0].grad_fn is not None and given[0].grad_fn not in self.owner:
            made.append(given[0])
        if made:
            call = self._note(operation, made, composite=operation in COMPOSITES)
            call.settings = _settings(operation, args, kwargs)
            if operation.startswith("embedding"):
                indices = next((t.untyped_storage().data_ptr() for t in given if not t.is_floating_point()), 0)
                self.embedded.extend(((tensor.grad_fn, tensor.output_nr), indices) for tensor in made)
        elif self._ends_gradient(operation, signals):
            self._note_break(operation, result)
        return result

    def location(self, call: Call) -> Location | None:
        """The user's line that called the operation, or else the one that built its module."""
        module = self.visits[call.module].module
        built = self._births(module) if module is not None else None
        lone = len(self.visits[call.module].calls) == 1 and not next(module.children(), None) if module is not None else False
        return built if built is not None and lone else source_location.location(call.place) or built

    def begins_at(self, inputs: list[Tensor]) -> None:
        """Takes what made the inputs for the world outside, which no operation of the network owns."""
        outside = Call(0, "", "input", None, in_loss=False)
        self.starts = [(tensor.grad_fn, tensor.output_nr) for tensor in inputs]
        self.owner.update((node, outside) for node, _ in self.starts)

    def finish(self, root: Tensor) -> None:
        """Claims what led to `root` and was not seen yet."""
        self._claim_unseen(root)

    def _note(self, operation: str, made: list[Tensor], *, composite: bool = False, seen: bool = True) -> Call:
        visit = self._stack[-1]
        call = Call(visit, self.visits[visit].path, operation, self._place(), self.in_loss, composite, seen)
        call.mean, call.std = mean_and_std(made[0])
        for tensor in made:
            call.outputs.append((tensor.grad_fn, tensor.output_nr))
            self._own(tensor.grad_fn, call)
        self.calls.append(call)
        self.visits[visit].calls.append(call)
        return call

    def _own(self, node: Node, call: Call) -> None:
        stack = [node]
        while stack:
            node = stack.pop()
            if node in self.owner or is_leaf(node):
                continue
            self.owner[node] = call
            stack.extend(follower for follower, _ in node.next_functions if follower is not None)

    def _claim_unseen(self, tensor: Tensor) -> None:
        node = tensor.grad_fn
        if node is not None and node not in self.owner:
            self._note(graph_operation(node.name()), [tensor], composite=True, seen=False)

    def _enter_custom(self, change: int) -> None:
        self._inside_custom += change

    def _custom(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        """A custom autograd function has run."""
        for tensor in tensors(args):
            self._claim_unseen(tensor)
        made = [tensor for tensor in tensors((result,)) if tensor.grad_fn is not None and tensor.grad_fn not in self.owner]
        if made:
            self.argument_places[made[0].grad_fn] = tuple(i for i, value in enumerate(args) if isinstance(value, Tensor))
            self._note(graph_operation(name), made)

    def _tensor_hook(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, hook = args[0], (*args[1:], *kwargs.values())[0]
        if tensor.grad_fn is not None:
            self.tensor_hooks.setdefault((tensor.grad_fn, tensor.output_nr), []).append(hook)
        return func(*args, **kwargs)

    def _ends_gradient(self, operation: str, signals: list[Tensor]) -> bool:
        """Whether a gradient was on its way through one of the tensors; what is done to bare parameters is upkeep."""
        under_way = any(tensor.grad_fn is not None for tensor in signals) and not self._inside_custom
        return under_way and (operation in ENDS_GRADIENT or not torch.is_grad_enabled())

    def _note_break(self, operation: str, result: Any) -> None:
        if any(tensor.is_floating_point() and not tensor.requires_grad for tensor in tensors((result,))) or operation == "argmax":
            path = self.visits[self._stack[-1]].path
            self.breaks.append(Break(path, operation, source_location.location(self._place())))

    def _place(self) -> tuple[str, int] | None:
        """The user's line within the pass; None where torch's own containers run it all."""
        frame = inspect.currentframe()
        while frame is not None and frame.f_code.co_filename != TRACE_FILE:
            if source_location.is_users(frame.f_code):
                return frame.f_code.co_filename, frame.f_lineno
            frame = frame.f_back
        return None

    def _begin(self, module: nn.Module, _args: Any) -> None:
        path = self._paths.get(module)
        if path is not None:
            self.visits.append(Visit(path, module, []))
            self._stack.append(len(self.visits) - 1)

    def _end(self, module: nn.Module, _args: Any, output: Any) -> None:
        if module in self._paths and len(self._stack) > 1:
            for tensor in tensors((output,)):
                self._claim_unseen(tensor)  # scripted code shows nothing but its results
            self._stack.pop()


TRACE_FILE = str(Path(__file__).with_name("tracer.py"))


def _settings(operation: str, args: Any, kwargs: Any) -> tuple[tuple[str, float], ...]:
    """What an activation with a setting was called with."""
    for known, setting, argument, default in SETTINGS:
        if operation == known:
            value = kwargs.get(argument, args[1] if len(args) > 1 else default)
            return ((setting, float(value)),)
    return ()


def tensors(values: Any) -> Iterator[Tensor]:
    """The tensors among values, looking into tuples and lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from tensors(value)


def labels(visits: list[Visit], network: str) -> Callable[[Call, str], str]:
    """How people read an operation: its module's path, or "block.1:relu" where the module runs several or is not torch's own."""
    counts: Counter[str] = Counter()

    def label(call: Call, operation: str) -> str:
        visit = visits[call.module]
        alone = len(visit.calls) == 1 and not call.composite and call.seen and visit.module is not None
        plain = alone and type(visit.module).__module__.startswith("torch.nn")
        home = "loss" if call.in_loss and not call.path else call.path or network
        name = call.path if plain and call.path else f"{home}:{operation}"
        counts[name] += 1
        return name if counts[name] == 1 else f"{name}#{counts[name]}"

    return label


@contextmanager
def _step_by_step() -> Generator[None]:
    """Recurrent layers run one time step after another, so that the graph shows time; as one fused kernel they would hide it."""
    fused = torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled
    torch.backends.mkldnn.enabled = torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled = fused


@contextmanager
def _hooked(begin: Callable[..., None], end: Callable[..., None]) -> Generator[None]:
    handles = [hooks.register_module_forward_pre_hook(begin), hooks.register_module_forward_hook(end, always_call=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _custom_functions(tell: Callable[[str, tuple[Any, ...], Any], None], enter: Callable[[int], None]) -> Generator[None]:
    """Reports every use of a custom `autograd.Function`: torch shows them to no mode."""
    original = torch.autograd.Function.__dict__["apply"]

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        enter(1)
        try:
            result = original.__func__(cls, *args, **kwargs)
        finally:
            enter(-1)
        tell(cls.__name__, args, result)
        return result

    torch.autograd.Function.apply = classmethod(apply)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        torch.autograd.Function.apply = original
