"""A network's Jacobian at one example as a linear map that multiplies vectors, without forming the matrix.

The network itself never runs: a copy without hooks does, in float64 where it can, always with the same buffers and random draws
(dropout's mask). Products with the transpose are backward passes through one graph; products with the Jacobian differentiate that
backward pass once more, or run forward mode where an operation has no second derivative.
"""

from __future__ import annotations

import copy
import difflib
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from unvanish.errors import TraceError, UsageError
from unvanish.network.compiled_code import is_compiler_loaded
from unvanish.network.module_hooks import memo_without_hooks
from unvanish.network.random_state import preserved_random_state

# Two computations of one number agree within the square root of the rounding error, and far worse where one of them is wrong.
TOLERANCE_EXPONENT = 0.5

Forward = Callable[[Tensor], Tensor]  # from an input to the layer's output, each of its own shape
Product = Callable[[Tensor], Tensor]  # from a float64 vector on the CPU to another


@dataclass(frozen=True, slots=True)
class Jacobian:
    """A linear map of shape (rows, columns).

    `transposed_product` multiplies a vector of shape (rows,) by its transpose, `product` one of shape (columns,) by itself; None
    where an operation has neither a second nor a forward derivative. `dtype` is that of the forward pass.
    """

    rows: int
    columns: int
    dtype: torch.dtype
    transposed_product: Product
    product: Product | None


@dataclass(frozen=True, slots=True)
class _ForwardArguments:
    """The arguments of a network's forward pass; `key` says which of them is the input that is varied."""

    positional: tuple[Any, ...]
    keywords: dict[str, Any]
    key: int | str

    @property
    def input(self) -> Tensor:
        return self.keywords[self.key] if isinstance(self.key, str) else self.positional[self.key]

    def map(self, change: Callable[[Any], Any]) -> _ForwardArguments:
        keywords = {name: change(value) for name, value in self.keywords.items()}
        return _ForwardArguments(tuple(change(value) for value in self.positional), keywords, self.key)

    def with_input(self, x: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments, with `x` in place of the input."""
        positional = tuple(x if position == self.key else value for position, value in enumerate(self.positional))
        return positional, {name: x if name == self.key else value for name, value in self.keywords.items()}


@contextmanager
def jacobian(model: nn.Module, inputs: Any, *, layer: str = "", example: int | None = 0) -> Generator[Jacobian]:
    """d(output of the module `layer`) / d(first tensor of `inputs`) at one example, to be used inside the `with` block.

    Where examples influence each other, the other ones are held. `example=None` takes the whole batch as one point. Cost: a copy
    of the network and some six passes. Raises UsageError for what cannot be used, TraceError where there is no derivative.

    Example:
        >>> model = nn.Linear(3, 2, bias=False)
        >>> with jacobian(model, torch.randn(1, 3)) as matrix:
        ...     column = matrix.product(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
        >>> torch.equal(column, model.weight[:, 0].double())
        True
    """
    check_layer(model, layer)
    arguments = _parse_inputs(inputs)
    with _twice_differentiable_kernels(model, arguments.input.device):
        yield _build_jacobian(*_prepare_forward(model, arguments, layer, example), layer)


def check_layer(model: Any, layer: str) -> None:
    """Raises UsageError where the model is no module, or has no module of that path."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"a Jacobian needs a torch.nn.Module, and was given {type(model).__name__}; pass the network itself")
    names = [name for name, _ in model.named_modules()]
    if layer not in names:
        similar = difflib.get_close_matches(layer, names, n=1)
        hint = f"did you mean {similar[0]!r}?" if similar else "model.named_modules() names them all"
        raise UsageError(f"{type(model).__name__} has no module {layer!r}; {hint}")


def require_finite(vector: Tensor, layer: str) -> Tensor:
    """The vector itself. Raises TraceError where it holds NaN or Inf."""
    if not torch.isfinite(vector).all():
        raise TraceError(
            f"the Jacobian of {_layer_name(layer)} is not finite: look for NaN or Inf in the forward pass up to there first"
        )
    return vector


def _parse_inputs(inputs: Any) -> _ForwardArguments:
    positional = () if isinstance(inputs, Mapping) else tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    keywords = dict(inputs) if isinstance(inputs, Mapping) else {}
    key = next((key for key, value in [*enumerate(positional), *keywords.items()] if isinstance(value, Tensor)), None)
    if key is None:
        raise UsageError("inputs holds no tensor; pass one batch as the network takes it: a tensor, a tuple or a dict of arguments")
    arguments = _ForwardArguments(positional, keywords, key)
    if not arguments.input.is_floating_point():
        raise UsageError(
            f"the first input is {arguments.input.dtype}, by which nothing can be differentiated; give the part of the network "
            "behind its embedding, and the embedding's output as its input"
        )
    if not arguments.input.numel():
        raise UsageError(f"the first input is empty, of shape {tuple(arguments.input.shape)}; give at least one example")
    return arguments


@contextmanager
def _twice_differentiable_kernels(model: nn.Module, device: torch.device) -> Generator[None]:
    """Attention, recurrence and compiled code run as operations that can be differentiated twice."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if device.type == "cuda" and any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        if is_compiler_loaded():
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _prepare_forward(model: nn.Module, arguments: _ForwardArguments, layer: str, example: int | None) -> tuple[Forward, Tensor]:
    """The function from one example to its own output, and the example: in float64, or in its own precision where that fails."""
    last_fault: Exception | None = None
    for dtype in dict.fromkeys((torch.float64, arguments.input.dtype)):
        try:
            network, copied = _copy_without_hooks(model), arguments.map(_detach)
            if dtype != copied.input.dtype:
                network, copied = network._apply(_to_float64), copied.map(_to_float64)  # pyright: ignore[reportPrivateUsage]
            return _select_example(network, copied, layer, example)
        except UsageError:
            raise
        except Exception as fault:  # the user's forward may raise anything
            last_fault = fault
    raise UsageError(
        f"inputs cannot be run through {type(model).__name__} ({type(last_fault).__name__}: {last_fault}); pass one batch as the "
        "network takes it: a tensor, a tuple of positional or a dict of keyword arguments"
    ) from last_fault


def _copy_without_hooks(model: nn.Module) -> nn.Module:
    """A copy in the same modes without hooks. What weight normalisation computed last, which cannot be copied, becomes a value."""
    memo = memo_without_hooks(model)
    for module in model.modules():
        computed = (value for value in vars(module).values() if isinstance(value, Tensor) and not value.is_leaf)
        memo |= {id(value): _detach(value) for value in computed}
    try:
        return copy.deepcopy(model, memo).requires_grad_(False)
    except Exception as fault:  # the user's modules may hold anything
        raise UsageError(
            f"{type(model).__name__} cannot be copied ({type(fault).__name__}: {fault}), and the network itself is never run; "
            "let go of what cannot be copied first"
        ) from fault


def _detach(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _to_float64(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _select_example(network: nn.Module, arguments: _ForwardArguments, layer: str, example: int | None) -> tuple[Forward, Tensor]:
    """As `_prepare_forward`, of a copy. The example runs alone where that gives the same Jacobian, else within its batch."""
    x, run_batch = arguments.input, _layer_forward(network, arguments, layer)  # (batch, ...)
    count = x.shape[0] if x.dim() > 1 else 1
    if example is not None and not -count <= example < count:
        raise UsageError(f"example={example}: the batch has {count} examples, 0 to {count - 1}")
    y = run_batch(x)
    if example is None or count == 1:
        return run_batch, x
    if y.shape[:1] != (count,):
        raise UsageError(
            f"the batch has {count} examples, but the output of {_layer_name(layer)} has shape {tuple(y.shape)}; give a batch of "
            "one example, or example=None for the whole batch as one point"
        )
    index = example % count
    selection = slice(index, index + 1)

    def select(value: Any) -> Any:
        return value[selection] if isinstance(value, Tensor) and value.shape[:1] == (count,) else value

    run_alone = _layer_forward(network, arguments.map(select), layer)

    def run_in_batch(part: Tensor) -> Tensor:
        return run_batch(torch.cat([x[:index], part, x[index + 1 :]]))[selection]  # (1, ...)

    return (run_alone if _have_equal_jacobians(run_alone, run_in_batch, x[selection]) else run_in_batch), x[selection]


def _layer_forward(network: nn.Module, arguments: _ForwardArguments, layer: str) -> Forward:
    """The function from the input to the layer's output, at its last call; every run has the same buffers and random state."""

    def run(x: Tensor) -> Tensor:
        outputs: list[Tensor | None] = []

        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            tensor = _first_tensor(output)
            outputs.append(None if tensor is None else tensor.clone())  # what follows may write into it

        handle = network.get_submodule(layer).register_forward_hook(hook)
        try:
            with _preserved_random_state(x.device):
                buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
                torch.func.functional_call(network, buffers, *arguments.with_input(x.clone()))
        finally:
            handle.remove()
        if not outputs or (y := outputs[-1]) is None:
            problem = "gives no tensor of real numbers" if outputs else "is not called in the forward pass"
            raise UsageError(f"{_layer_name(layer)} {problem}; choose a layer that is called and gives one")
        return y

    return run


def _first_tensor(output: Any) -> Tensor | None:
    """The first floating-point tensor with elements in nested tuples, lists and mappings."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() and output.numel() else None
    parts: Iterable[Any] = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return next((tensor for part in parts if (tensor := _first_tensor(part)) is not None), None)


def _preserved_random_state(device: torch.device) -> AbstractContextManager[None]:
    """A context after which every random state is restored, so that the same numbers are drawn again."""
    if device.type == "cpu":
        return preserved_random_state([])
    return preserved_random_state([device], device_type=device.type)


def _have_equal_jacobians(first: Forward, second: Forward, x: Tensor) -> bool:
    """Whether two functions have the same Jacobian at `x`, by one random product; products of zero prove nothing."""
    try:
        u = _random_vector(second(x).numel(), seed=0)
        products = [_transposed_product(*_evaluate(function, x))(u) for function in (first, second)]
    except Exception:  # whatever a single example raises, BatchNorm for one, means only: not alone
        return False
    scale = max(product.norm().item() for product in products)
    return scale > 0.0 and (products[0] - products[1]).norm().item() <= _tolerance(x.dtype) * scale


def _build_jacobian(run: Forward, x: Tensor, layer: str) -> Jacobian:
    x, y = _evaluate(run, x)
    if not y.requires_grad:
        raise TraceError(
            f"no gradient leads from the output of {_layer_name(layer)} to the input: look for .detach() or no_grad() there"
        )
    transposed_product = _transposed_product(x, y)
    u, v = _random_vector(y.numel(), seed=0), _random_vector(x.numel(), seed=1)
    try:
        backward = require_finite(transposed_product(u), layer)  # J' u
    except RuntimeError as fault:
        raise TraceError(f"the output of {_layer_name(layer)} cannot be differentiated by the input: {fault}") from fault
    product = None
    for build_product in (_double_backward_product, _forward_mode_product):
        try:
            candidate = build_product(run, x, y)
            forward = candidate(v)  # J v
        except (RuntimeError, NotImplementedError):  # an operation without that derivative
            continue
        # <u, J v> = <J' u, v>: a derivative that is wrong in silence, as of a custom function, does not pass.
        scale = (u.norm() * forward.norm() + backward.norm() * v.norm()).item()
        if abs((u @ forward - backward @ v).item()) <= _tolerance(x.dtype) * scale:
            product = candidate
            break
    return Jacobian(y.numel(), x.numel(), x.dtype, transposed_product, product)


def _evaluate(run: Forward, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().clone().requires_grad_()
    return x, run(x)


def _transposed_product(x: Tensor, y: Tensor) -> Product:
    def product(u: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(y, x, u.to(y).view_as(y), retain_graph=True)
        return _to_vector(gradient)

    return product


def _double_backward_product(_run: Forward, x: Tensor, y: Tensor) -> Product:
    """The transposed product is linear in its vector: its own derivative by that vector is the Jacobian (Townsend 2017)."""
    u = torch.zeros_like(y).requires_grad_()
    (gradient,) = torch.autograd.grad(y, x, u, create_graph=True)

    def product(v: Tensor) -> Tensor:
        (tangent,) = torch.autograd.grad(gradient, u, v.to(x).view_as(x), retain_graph=True)
        return _to_vector(tangent)

    return product


def _forward_mode_product(run: Forward, x: Tensor, y: Tensor) -> Product:
    def product(v: Tensor) -> Tensor:
        with forward_ad.dual_level(), warnings.catch_warnings():
            # torch itself uses it when forward mode is loaded
            warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
            tangent = forward_ad.unpack_dual(run(forward_ad.make_dual(x, v.to(x).view_as(x)))).tangent
        return _to_vector(torch.zeros_like(y) if tangent is None else tangent)

    return product


def _to_vector(tensor: Tensor) -> Tensor:
    return tensor.detach().flatten().to("cpu", torch.float64)


def _random_vector(size: int, *, seed: int) -> Tensor:
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _tolerance(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps ** TOLERANCE_EXPONENT


def _layer_name(layer: str) -> str:
    return f"layer {layer!r}" if layer else "the network"
