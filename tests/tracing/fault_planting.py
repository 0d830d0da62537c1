"""Plants a fault in a network and traces it: a factor on the output of one operation, or on its gradient alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unvanish.record.gradient_flow import FlowOp, GradientFlow
from unvanish.tracing import trace

if TYPE_CHECKING:
    from network_cases import NetworkCase

FACTORS = (0.1, 10.0)
BRANCH_FACTOR = 30.0
FULL_VISITS = 1.0 - 1e-6  # visits from which on no path leads around an operation
MIN_VISITS = (
    0.5  # visits below which a fault is out of sight: most of the gradient goes around it, and no parameter has it on its way
)
# One call of a loop is a starved branch with no parameter of its own: there, faults are planted in modules, so at every step.
LOOPS = frozenset({"rnn by hand"})
BRANCHES = {
    "resnet": "norms.1",
    "resnet with batch norm": "norms.1",
    "pre-norm transformer": "linear2",
    "post-norm transformer": "linear2",
}

Plant = Callable[["NetworkCase"], AbstractContextManager[Any]]


@dataclass(frozen=True)
class FaultTrial:
    """One planted fault and its trace: the decades of the planted operation and those of the largest other one.

    `unseen` counts the places drawn before, which no target's gradient has to pass.
    """

    network: str
    place: str
    factor: float
    target: str
    planted: float
    rival: str
    rival_decades: float
    unseen: int = 0

    @property
    def is_first(self) -> bool:
        return abs(self.planted) > abs(self.rival_decades)


class Planted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float, backwards: float) -> Tensor:
        ctx.factor = backwards
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] * ctx.factor, None, None


@dataclass(frozen=True)
class Fault:
    """A factor on a gradient, and the same on the values themselves unless it is `silent`."""

    factor: float
    silent: bool

    def on(self, result: Any) -> Any:
        if isinstance(result, tuple):
            return (self.on(result[0]), *result[1:])
        return Planted.apply(result, 1.0 if self.silent else self.factor, self.factor)


class FaultInCall(TorchFunctionMode):
    """Plants a fault in the call with that number among those which make a gradient-carrying tensor outside torch's own modules."""

    def __init__(self, fault: Fault | None, number: int = -1) -> None:
        super().__init__()
        self.fault, self.number, self.names, self.inside = fault, number, list[str](), 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (
            isinstance(result, Tensor)
            and result.grad_fn is not None
            and not self.inside
            and func.__name__ not in ("__get__", "requires_grad_")
        ):
            self.names.append(func.__name__)
            if self.fault is not None and len(self.names) - 1 == self.number:
                return self.fault.on(result)
        return result


@contextmanager
def fault_in_call(model: nn.Module, fault: Fault | None, number: int = -1) -> Iterator[FaultInCall]:
    """An `FaultInCall` that knows when a leaf module runs."""
    mode = FaultInCall(fault, number)

    def start(*_: Any) -> None:
        mode.inside, mode.names = 0, []

    def begin(*_: Any) -> None:
        mode.inside += 1

    def end(*_: Any) -> None:
        mode.inside -= 1

    handles = [
        hook
        for leaf in leaf_modules(model).values()
        for hook in (leaf.register_forward_pre_hook(begin), leaf.register_forward_hook(end))
    ]
    handles += [model.register_forward_pre_hook(start, prepend=True), model.register_forward_hook(begin)]  # the loss is left out
    try:
        with mode:
            yield mode
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def fault_in_module(module: nn.Module, fault: Fault) -> Iterator[None]:
    handle = module.register_forward_hook(lambda _module, _args, output: fault.on(output))
    try:
        yield
    finally:
        handle.remove()


def leaf_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Modules that torch wrote and that no module of the network's own is in."""
    return {
        path: module
        for path, module in model.named_modules()
        if type(module).__module__.startswith("torch.nn")
        and not isinstance(module, nn.Identity | nn.Flatten | nn.Sequential | nn.ModuleList)
        and (not any(module.children()) or isinstance(module, nn.MultiheadAttention))
    }


def fault_places(name: str, case: NetworkCase) -> list[tuple[str, Callable[[Fault], AbstractContextManager[Any]]]]:
    """Everywhere a fault can be planted in a network: leaf modules that are called, and calls of functions."""
    model = case.model
    with fault_in_call(model, None) as counted:
        flow = trace(model, case.inputs, case.loss)
    called = {op.path for op in flow.ops}
    modules = [(path, lambda fault, m=m: fault_in_module(m, fault)) for path, m in leaf_modules(model).items() if path in called]
    if name in LOOPS:
        return modules
    return modules + [(f"{call} #{i}", lambda fault, i=i: fault_in_call(model, fault, i)) for i, call in enumerate(counted.names)]


def planted_operations(flow: GradientFlow) -> list[FlowOp]:
    return [op for op in flow.ops if op.op == "planted"]


def compare_with_rival(name: str, place: str, factor: float, flow: GradientFlow) -> FaultTrial:
    """Whether the planted operation comes first among the operations of a flow."""
    planted = max(planted_operations(flow), key=lambda op: abs(op.decades))
    rival = max((op for op in flow.ops if op.op != "planted"), key=lambda op: abs(op.decades))
    return FaultTrial(name, place, factor, flow.target, planted.decades, f"{rival.label} ({rival.op})", rival.decades)


def trace_nearest_target(case: NetworkCase) -> GradientFlow:
    """The flow to the input or, where a way leads around the fault, to the last parameter whose gradient has to pass it."""
    flow = trace(case.model, case.inputs, case.loss)
    passed = [op.visits for op in planted_operations(flow)]
    if not passed or max(passed) >= FULL_VISITS:
        return flow
    best, most = flow, max(passed)
    for parameter in reversed([name for name, _ in case.model.named_parameters()]):
        behind = trace(case.model, case.inputs, case.loss, to=parameter)
        visits = max((op.visits for op in planted_operations(behind)), default=0.0)
        if visits > most:
            best, most = behind, visits
        if most >= FULL_VISITS:
            break
    return best


def run_trial(name: str, case: NetworkCase, draw: random.Random, *, silent: bool) -> FaultTrial:
    """A factor of 0.1 or 10 at a random place that the gradient of some target has to pass."""
    everywhere = fault_places(name, case)
    for unseen in range(len(everywhere)):
        place, plant = everywhere.pop(draw.randrange(len(everywhere)))
        factor = draw.choice(FACTORS)
        with plant(Fault(factor, silent)):
            flow = trace_nearest_target(case)
        if max((op.visits for op in planted_operations(flow)), default=0.0) >= MIN_VISITS:
            return replace(compare_with_rival(name, place, factor, flow), unseen=unseen)
    raise AssertionError(f"no place in {name} is in sight")


def run_branch_trial(name: str, case: NetworkCase, draw: random.Random) -> FaultTrial:
    """A factor of 30 on the last layer of a residual branch, traced to the input."""
    ends = [path for path, module in case.model.named_modules() if path.endswith(BRANCHES[name]) and not any(module.children())]
    place = draw.choice(ends)
    with fault_in_module(case.model.get_submodule(place), Fault(BRANCH_FACTOR, silent=True)):
        return compare_with_rival(name, place, BRANCH_FACTOR, trace(case.model, case.inputs, case.loss))
