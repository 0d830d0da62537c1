"""A network's Jacobian at one example, as a linear map that multiplies vectors. It is never formed, and nothing is read from it.

The network itself never runs: a copy without hooks does, in float64 where it can, always with the same buffers and random draws
(dropout's mask). Products with the transpose are backward passes through one graph; products with the Jacobian differentiate that
backward pass once more, or run forward mode where an operation has no second derivative.
"""

from __future__ import annotations

import copy
import difflib
import random
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from unvanish.errors import TraceError, UsageError

# Two ways to one number agree within the square root of the rounding error, and far worse where one of them is wrong.
AGREEMENT = 0.5
# Hooks may hold anything and would run on the copy as if it were the network: they are not copied.
HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)

Run = Callable[[Tensor], Tensor]
Product = Callable[[Tensor], Tensor]  # from a float64 vector on the CPU to another


@dataclass(frozen=True, slots=True)
class Jacobian:
    """A linear map: `backward` multiplies by its transpose, `forward` by itself; None where no operation allows that."""

    rows: int
    columns: int
    dtype: torch.dtype
    backward: Product
    forward: Product | None


@dataclass(frozen=True, slots=True)
class _Call:
    """The arguments of a network's forward pass; `key` says which of them is the input that is varied."""

    positional: tuple[Any, ...]
    keywords: dict[str, Any]
    key: int | str

    @property
    def input(self) -> Tensor:
        return self.keywords[self.key] if isinstance(self.key, str) else self.positional[self.key]

    def mapped(self, change: Callable[[Any], Any]) -> _Call:
        return _Call(tuple(map(change, self.positional)), {name: change(v) for name, v in self.keywords.items()}, self.key)

    def arguments(self, x: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments, with `x` in place of the input."""
        positional = tuple(x if place == self.key else value for place, value in enumerate(self.positional))
        return positional, {name: x if name == self.key else value for name, value in self.keywords.items()}


@contextmanager
def jacobian(model: nn.Module, inputs: Any, *, layer: str = "", example: int | None = 0) -> Generator[Jacobian]:
    """d(output of the module `layer`) / d(first tensor of `inputs`) at one example, to be used inside the `with` block.

    Where examples influence each other, the other ones are held. `example=None` takes the whole batch as one point. Cost: a copy
    of the network and some six passes. Raises UsageError for what cannot be used, TraceError where there is no derivative.
    """
    check_layer(model, layer)
    call = _call(inputs)
    with _differentiable(model, call.input.device):
        yield _linear_map(*_runnable(model, call, layer, example), layer)


def check_layer(model: Any, layer: str) -> None:
    """Raises UsageError where there is no such module."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"a Jacobian needs a torch.nn.Module, and was given {type(model).__name__}; pass the network itself")
    names = [name for name, _ in model.named_modules()]
    if layer not in names:
        close = difflib.get_close_matches(layer, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "model.named_modules() names them all"
        raise UsageError(f"{type(model).__name__} has no module {layer!r}; {hint}")


def finite(vector: Tensor, layer: str) -> Tensor:
    """The product itself. Raises TraceError where it holds NaN or Inf."""
    if not torch.isfinite(vector).all():
        raise TraceError(
            f"the Jacobian of {_named(layer)} is not finite: look for NaN or Inf in the forward pass up to there first"
        )
    return vector


def _call(inputs: Any) -> _Call:
    positional = () if isinstance(inputs, Mapping) else tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    keywords = dict(inputs) if isinstance(inputs, Mapping) else {}
    key = next((key for key, value in [*enumerate(positional), *keywords.items()] if isinstance(value, Tensor)), None)
    if key is None:
        raise UsageError("inputs holds no tensor; pass one batch as the network takes it: a tensor, a tuple or a dict of arguments")
    call = _Call(positional, keywords, key)
    if not call.input.is_floating_point():
        raise UsageError(
            f"the first input is {call.input.dtype}, by which nothing can be differentiated; give the part of the network behind "
            "its embedding, and the embedding's output as its input"
        )
    if not call.input.numel():
        raise UsageError(f"the first input is empty, of shape {tuple(call.input.shape)}; give at least one example")
    return call


@contextmanager
def _differentiable(model: nn.Module, device: torch.device) -> Generator[None]:
    """Attention, recurrence and compiled code run as operations that can be differentiated twice."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if device.type == "cuda" and any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        if "torch._dynamo.eval_frame" in sys.modules:  # else nothing is compiled, and loading the compiler takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _runnable(model: nn.Module, call: _Call, layer: str, example: int | None) -> tuple[Run, Tensor]:
    """The way from one example to its own output, and the example: in float64, or in its own precision where that fails."""
    fault: Exception | None = None
    for dtype in dict.fromkeys((torch.float64, call.input.dtype)):
        try:
            network, given = _copy(model), call.mapped(_detached)
            if dtype != given.input.dtype:
                network, given = network._apply(_doubled), given.mapped(_doubled)  # pyright: ignore[reportPrivateUsage]
            return _at_example(network, given, layer, example)
        except UsageError:
            raise
        except Exception as found:  # the user's forward may raise anything
            fault = found
    raise UsageError(
        f"inputs cannot be run through {type(model).__name__} ({type(fault).__name__}: {fault}); pass one batch as the network "
        "takes it: a tensor, a tuple of positional or a dict of keyword arguments"
    ) from fault


def _copy(model: nn.Module) -> nn.Module:
    """A copy in the same modes without hooks. What weight normalisation computed last, which cannot be copied, becomes a value."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        state = vars(module)
        memo |= {id(state[name]): OrderedDict() for name in HOOKS if name in state}
        memo |= {id(value): _detached(value) for value in state.values() if isinstance(value, Tensor) and not value.is_leaf}
    try:
        return copy.deepcopy(model, memo).requires_grad_(False)
    except Exception as fault:  # the user's modules may hold anything
        raise UsageError(
            f"{type(model).__name__} cannot be copied ({type(fault).__name__}: {fault}), and the network itself is never run; "
            "let go of what cannot be copied first"
        ) from fault


def _detached(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _doubled(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _at_example(network: nn.Module, call: _Call, layer: str, example: int | None) -> tuple[Run, Tensor]:
    """As `_runnable`, of a copy. The example runs alone where that gives the same Jacobian, else within its batch."""
    x, run = call.input, _forward(network, call, layer)
    count = x.shape[0] if x.dim() > 1 else 1
    if example is not None and not -count <= example < count:
        raise UsageError(f"example={example}: the batch has {count} examples, 0 to {count - 1}")
    y = run(x)
    if example is None or count == 1:
        return run, x
    if y.shape[:1] != (count,):
        raise UsageError(
            f"the batch has {count} examples, but the output of {_named(layer)} has shape {tuple(y.shape)}; give a batch of one "
            "example, or example=None for the whole batch as one point"
        )
    index = example % count
    only = slice(index, index + 1)
    sliced = call.mapped(lambda value: value[only] if isinstance(value, Tensor) and value.shape[:1] == (count,) else value)
    alone = _forward(network, sliced, layer)

    def together(part: Tensor) -> Tensor:
        return run(torch.cat([x[:index], part, x[index + 1 :]]))[only]

    return (alone if _agree(alone, together, x[only]) else together), x[only]


def _forward(network: nn.Module, call: _Call, layer: str) -> Run:
    """The way from the input to the layer's output, at its last call; every run starts from the same buffers and random state."""

    def run(x: Tensor) -> Tensor:
        seen: list[Tensor | None] = []

        def note(_module: nn.Module, _args: Any, output: Any) -> None:
            found = _first_tensor(output)
            seen.append(None if found is None else found.clone())  # what follows may write into it

        handle = network.get_submodule(layer).register_forward_hook(note)
        try:
            with _same_draws(x.device):
                buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
                torch.func.functional_call(network, buffers, *call.arguments(x.clone()))
        finally:
            handle.remove()
        if not seen or (y := seen[-1]) is None:
            what = "gives no tensor of real numbers" if seen else "is not called in the forward pass"
            raise UsageError(f"{_named(layer)} {what}; choose a layer that is called and gives one")
        return y

    return run


def _first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output if output.is_floating_point() and output.numel() else None
    parts: Iterable[Any] = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return next((found for part in parts if (found := _first_tensor(part)) is not None), None)


@contextmanager
def _same_draws(device: torch.device) -> Generator[None]:
    """Whatever is drawn inside will be drawn again: every random state is put back."""
    python, legacy = random.getstate(), np.random.get_state()
    cpu = device.type == "cpu"
    try:
        with torch.random.fork_rng([] if cpu else [device], device_type="cuda" if cpu else device.type):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def _agree(alone: Run, together: Run, x: Tensor) -> bool:
    """Whether an example has the same Jacobian by itself and in its batch, by one random product; zeros prove nothing."""
    try:
        one, other = (_backward(*_evaluated(run, x)) for run in (alone, together))
        u = _probe(together(x).numel(), seed=0)
        first, second = one(u), other(u)
    except Exception:  # whatever a single example raises, BatchNorm for one, means only: not alone
        return False
    scale = max(first.norm().item(), second.norm().item())
    return scale > 0.0 and (first - second).norm().item() <= _tolerance(x.dtype) * scale


def _linear_map(run: Run, x: Tensor, layer: str) -> Jacobian:
    x, y = _evaluated(run, x)
    if not y.requires_grad:
        raise TraceError(
            f"no gradient leads from the output of {_named(layer)} to the input: look for .detach() or no_grad() there"
        )
    backward = _backward(x, y)
    u, v = _probe(y.numel(), seed=0), _probe(x.numel(), seed=1)
    try:
        back = finite(backward(u), layer)
    except RuntimeError as fault:
        raise TraceError(f"the output of {_named(layer)} cannot be differentiated by the input: {fault}") from fault
    forward = None
    for way in (_forward_twice_backward, _forward_mode):
        try:
            candidate = way(run, x, y)
            ahead = candidate(v)
        except (RuntimeError, NotImplementedError):  # an operation without that derivative
            continue
        # <u, J v> = <J' u, v>: a derivative that is wrong in silence, as of a custom function, does not pass.
        size = (u.norm() * ahead.norm() + back.norm() * v.norm()).item()
        if abs((u @ ahead - back @ v).item()) <= _tolerance(x.dtype) * size:
            forward = candidate
            break
    return Jacobian(y.numel(), x.numel(), x.dtype, backward, forward)


def _evaluated(run: Run, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().clone().requires_grad_()
    return x, run(x)


def _backward(x: Tensor, y: Tensor) -> Product:
    def product(u: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(y, x, u.to(y).view_as(y), retain_graph=True)
        return _vector(gradient)

    return product


def _forward_twice_backward(_run: Run, x: Tensor, y: Tensor) -> Product:
    """The backward product is linear in its vector: its own derivative by that vector is the Jacobian (Townsend 2017)."""
    u = torch.zeros_like(y).requires_grad_()
    (gradient,) = torch.autograd.grad(y, x, u, create_graph=True)

    def product(v: Tensor) -> Tensor:
        (tangent,) = torch.autograd.grad(gradient, u, v.to(x).view_as(x), retain_graph=True)
        return _vector(tangent)

    return product


def _forward_mode(run: Run, x: Tensor, y: Tensor) -> Product:
    def product(v: Tensor) -> Tensor:
        with forward_ad.dual_level(), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", r"`torch\.jit\.", DeprecationWarning
            )  # torch itself uses it when forward mode is loaded
            tangent = forward_ad.unpack_dual(run(forward_ad.make_dual(x, v.to(x).view_as(x)))).tangent
        return _vector(torch.zeros_like(y) if tangent is None else tangent)

    return product


def _vector(tensor: Tensor) -> Tensor:
    return tensor.detach().flatten().to("cpu", torch.float64)


def _probe(size: int, *, seed: int) -> Tensor:
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _tolerance(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps ** AGREEMENT


def _named(layer: str) -> str:
    return f"layer {layer!r}" if layer else "the network"
