"""Dynamic loss scaling as hooks: the backward pass through a network runs on a larger gradient, which float16 does not round to 0.

Gradients of parameters and inputs are divided by the factor before any other code sees them. So clipping, penalties, other networks
and several passes work as without it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.optim import Optimizer
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from unvanish.remedies.hooks.step_gradients import call_with_gradients
from unvanish.remedies.hooks.withheld_gradients import WithheldGradients

INITIAL_SCALE, GROWTH_FACTOR, BACKOFF_FACTOR, GROWTH_INTERVAL = 2.0**16, 2.0, 0.5, 2000
"""The factor at the start, its growth after that many passes without overflow, and its change after an overflow: as in torch's
GradScaler (Micikevicius 2018, arXiv 1710.03740, sec. 3.2)."""

MIN_SCALE, MAX_SCALE = 1.0, 2.0**24
"""Bounds of the factor: below one it would lose what it should save, and 2^24 makes even float16's smallest number one."""


@final
class LossScaling:
    """Hooks before and after a network's forward pass that scale the gradient inside it.

    The factor `scale` halves when a backward pass has a gradient that is not finite, whose gradients then all become zero, and
    doubles after 2000 passes without. `overflows` counts the former; `SkipOverflowedSteps` reads it. It does not wait for the
    device. A pass without any tensor of a `low_precision` dtype stays as it is.

    Arguments:
        low_precision: the dtypes for which gradients are scaled.

    Example:
        >>> import torch
        >>> network = torch.nn.Linear(1, 1, bias=False).half()
        >>> hooks = LossScaling()
        >>> handles = (
        ...     network.register_forward_pre_hook(hooks.before_forward, with_kwargs=True),
        ...     network.register_forward_hook(hooks.after_forward, with_kwargs=True),
        ... )
        >>> (network(torch.full((1, 1), 2.0, dtype=torch.float16)).float().sum() / 1024).backward()
        >>> network.weight.grad.item() * 1024  # its true size: it is scaled inside the network alone
        2.0
        >>> hooks.overflows.item()
        0
    """

    def __init__(self, low_precision: tuple[torch.dtype, ...] = (torch.float16,)) -> None:
        self.low_precision = low_precision
        self.scale = torch.tensor(INITIAL_SCALE)
        self.overflows = torch.tensor(0)
        self._passes_since_overflow = torch.tensor(0)
        self._mark_for_the_compiler()

    def __getstate__(self) -> dict[str, Any]:
        """The state for copies and pickles, without the functions that are marked for the compiler."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_uncompiled")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores that state."""
        vars(self).update(state)
        self._mark_for_the_compiler()

    def _mark_for_the_compiler(self) -> None:
        self._uncompiled_before: Callable[..., Any] = torch.compiler.disable(_with_aliased_tensors)
        self._uncompiled_after: Callable[..., Any] = torch.compiler.disable(self._scale_output_gradients)

    def before_forward(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """The forward pre-hook: register it with `with_kwargs=True`."""
        del module
        return self._uncompiled_before((args, kwargs))

    def after_forward(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """The forward hook: register it with `with_kwargs=True`. Without gradients it changes nothing.

        Outputs that autocast made float16 are converted to float32; otherwise their gradient is lost before it gets here.
        """
        return self._uncompiled_after(module, args, kwargs, output)

    def _scale_output_gradients(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        leaves, tree_spec = tree_flatten(output)
        positions = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        if not positions or not torch.is_grad_enabled():
            return output
        inner = tuple(leaves[i] for i in positions)
        arguments = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor) and leaf.requires_grad]
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        nodes = _graph_nodes(inner, {tensor.grad_fn for tensor in arguments})
        is_narrow = any(tensor.dtype in self.low_precision for tensor in (*inner, *parameters))
        if not is_narrow and not _any_of_dtype(nodes, self.low_precision):
            return output
        self._move_to(inner[0].device)
        sources = tuple({id(tensor): tensor for tensor in (*arguments, *parameters, *_leaf_tensors(nodes))}.values())
        scaled_pass = _ScaledPass(
            self,
            inner,
            sources,
            widens=all(parameter.dtype is not torch.float16 for parameter in parameters),
            runs_once=any("CompiledFunction" in node.name() for node in nodes),
        )
        for i, tensor in zip(positions, _ScaledBackward.apply(scaled_pass, *sources), strict=True):
            leaves[i] = tensor
        return tree_unflatten(leaves, tree_spec)

    def update_scale(self, overflowed: Tensor) -> None:
        """Updates the factor after a backward pass; `overflowed` (bool, shape ()) says whether a gradient was not finite."""
        self.overflows += overflowed
        self._passes_since_overflow = torch.where(overflowed, 0, self._passes_since_overflow + 1)
        grown_scale = torch.where(self._passes_since_overflow >= GROWTH_INTERVAL, self.scale * GROWTH_FACTOR, self.scale)
        self._passes_since_overflow = self._passes_since_overflow % GROWTH_INTERVAL
        self.scale = torch.where(overflowed, self.scale * BACKOFF_FACTOR, grown_scale).clamp(MIN_SCALE, MAX_SCALE)

    def _move_to(self, device: torch.device) -> None:
        if self.scale.device != device:
            self.scale, self.overflows = self.scale.to(device), self.overflows.to(device)
            self._passes_since_overflow = self._passes_since_overflow.to(device)


@dataclass(frozen=True, slots=True)
class _ScaledPass:
    """One forward pass of the network.

    Arguments:
        scaling: the owner of the factor.
        inner: the network's own outputs that have a gradient.
        sources: the inputs, parameters and other leaves on which they depend.
        widens: whether outputs in float16 are converted to float32.
        runs_once: whether its backward pass can run only once, since a part of it is a compiled graph.
    """

    scaling: LossScaling
    inner: tuple[Tensor, ...]
    sources: tuple[Tensor, ...]
    widens: bool
    runs_once: bool


class _ScaledBackward(torch.autograd.Function):
    """The identity, whose backward pass runs the network's backward pass itself on a larger gradient, and divides the results.

    A backward pass of its own separates gradients through the outputs from those that reach the same parameters otherwise.
    """

    @staticmethod
    def forward(ctx: Any, scaled_pass: _ScaledPass, *sources: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        del sources
        ctx.scaled_pass = scaled_pass
        ctx.set_materialize_grads(False)
        return tuple(
            t.detach().float() if scaled_pass.widens and t.dtype is torch.float16 else t.detach() for t in scaled_pass.inner
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        scaled_pass: _ScaledPass = ctx.scaled_pass
        scale = scaled_pass.scaling.scale
        pairs = [(tensor, g) for tensor, g in zip(scaled_pass.inner, gradients, strict=True) if g is not None]
        if not pairs:
            return None, *[None for _ in scaled_pass.sources]
        is_differentiable = torch.is_grad_enabled()
        with _without_hooks(scaled_pass.sources):
            gradients_of_sources = torch.autograd.grad(
                [tensor for tensor, _ in pairs],
                scaled_pass.sources,
                [_multiply(g, scale, tensor.dtype) for tensor, g in pairs],
                retain_graph=is_differentiable or not scaled_pass.runs_once,
                create_graph=is_differentiable,
                allow_unused=True,
            )
        source_gradients = cast("tuple[Tensor | None, ...]", gradients_of_sources)
        is_finite = [torch.isfinite(_stored_values(g)).all().to(scale.device) for g in source_gradients if g is not None]
        overflowed = ~torch.stack(is_finite).all() if is_finite else scale < 0
        scaled_pass.scaling.update_scale(overflowed)
        inverse_scale = torch.where(overflowed, 0.0, 1.0 / scale)
        return None, *[
            None if g is None else _zero_if_overflowed(_multiply(g, inverse_scale, g.dtype), overflowed) for g in source_gradients
        ]


@final
class SkipOverflowedSteps:
    """Hooks before and after an optimizer's step that skip it after an overflow, as GradScaler does.

    Arguments:
        scaling: the hooks of the network, which count overflows.
    """

    def __init__(self, scaling: LossScaling) -> None:
        self._scaling = scaling
        self._seen_overflows = 0
        self._withheld = WithheldGradients()

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """The step pre-hook: withholds the gradients after an overflow, so that the optimizer changes nothing."""
        return call_with_gradients(optimizer, args, kwargs, self._check)

    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """The step post-hook: restores the gradients."""
        del optimizer, args, kwargs
        self._withheld.restore()

    def _check(self, optimizer: Optimizer) -> None:
        overflows = int(self._scaling.overflows)
        if overflows == self._seen_overflows:
            return
        self._seen_overflows = overflows
        self._withheld.withhold(optimizer)


def _with_aliased_tensors(arguments: Any) -> Any:
    """The arguments with views in place of the tensors that require gradients; the views have no hooks."""
    if not torch.is_grad_enabled():
        return arguments
    return tree_map_only(Tensor, lambda tensor: tensor.view_as(tensor) if tensor.requires_grad else tensor, arguments)


@contextmanager
def _without_hooks(tensors: Sequence[Tensor]) -> Generator[None]:
    """A context in which the hooks of tensors do not run on scaled gradients; they run on the true gradients later."""
    saved_hooks = [(hooks, dict(hooks)) for tensor in tensors if (hooks := tensor._backward_hooks)]
    for hooks, _ in saved_hooks:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, hooks_before in saved_hooks:
            hooks.update(hooks_before)


def _multiply(gradient: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """The product as `dtype`, computed in float32 or wider: 2^16 is not a number of float16."""
    wide_dtype = torch.promote_types(gradient.dtype, torch.float32)
    return (gradient.to(wide_dtype) * factor.to(gradient.device)).to(dtype)


def _zero_if_overflowed(gradient: Tensor, overflowed: Tensor) -> Tensor:
    """The gradient, or zeros where the pass overflowed, so that copies of the network without the step hook stay finite."""
    if gradient.is_sparse:
        return gradient
    return torch.where(overflowed.to(gradient.device), torch.zeros((), dtype=gradient.dtype, device=gradient.device), gradient)


def _stored_values(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _any_of_dtype(nodes: Sequence[Node], dtypes: tuple[torch.dtype, ...]) -> bool:
    """Whether an operation in the graph had a result of one of these dtypes."""
    return any(metadata.dtype in dtypes for node in nodes for metadata in node._input_metadata)  # pyright: ignore[reportPrivateUsage]


def _leaf_tensors(nodes: Sequence[Node]) -> Iterator[Tensor]:
    """The leaf tensors at which the operations of a graph accumulate gradients."""
    for node in nodes:
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            yield variable


def _graph_nodes(outputs: Sequence[Tensor], boundary: set[Node | None]) -> list[Node]:
    """The operations on which `outputs` depend, back to `boundary`."""
    stack = [tensor.grad_fn for tensor in outputs]
    visited = set(boundary)
    nodes: list[Node] = []
    while stack:
        node = stack.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        nodes.append(node)
        stack.extend(next_node for next_node, _ in node.next_functions)
    return nodes
