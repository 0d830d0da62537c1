"""Hooks under which the backward pass through a network runs on a larger gradient, which float16 does not round to zero.

What comes out of that pass, at the parameters and the inputs, is divided again before anybody sees it. So clipping, penalties,
other networks and several passes work as they did.
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

from unvanish.remedies.hooks.step_gradients import when_there
from unvanish.remedies.hooks.withheld import Withheld

START, GROWTH, SHRINK, PATIENCE = 2.0**16, 2.0, 0.5, 2000
"""The factor at the start, what it is multiplied with after so many good passes, and after one that overflowed: as in torch's
GradScaler (Micikevicius 2018, arXiv 1710.03740, sec. 3.2)."""

LEAST, MOST = 1.0, 2.0**24
"""Bounds of the factor: below one it would lose what it is to save, and no gradient that float16 holds needs more than 2^24, by
which even its smallest number becomes one."""


@final
class LossScaling:
    """Hooks of the whole network, whose outputs they make multiply the gradient that enters them.

    The factor halves when a pass makes a gradient that is not finite, whose parts then count as zero, and doubles after 2000
    passes that do not. `overflows` counts the former; the optimizers' hooks read it. Nothing here waits for the device. A pass in
    which nothing is of a `narrow` type stays as it is.
    """

    def __init__(self, narrow: tuple[torch.dtype, ...] = (torch.float16,)) -> None:
        self.narrow = narrow
        self.scale = torch.tensor(START)
        self.overflows = torch.tensor(0)
        self._good = torch.tensor(0)
        self._mark_for_the_compiler()

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles keep: all but the functions that are marked for the compiler."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_uncompiled")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes that in."""
        vars(self).update(state)
        self._mark_for_the_compiler()

    def _mark_for_the_compiler(self) -> None:
        self._uncompiled_before: Callable[..., Any] = torch.compiler.disable(_aliased)
        self._uncompiled_after: Callable[..., Any] = torch.compiler.disable(self._enlarged)

    def before_forward(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """The hook before a forward pass, registered with keyword arguments."""
        del module
        return self._uncompiled_before((args, kwargs))

    def after_forward(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """The hook after a forward pass, registered with keyword arguments. Without gradients it changes nothing.

        Outputs in float16 come out in float32 where autocast made them so: else their gradient is lost before it gets here.
        """
        return self._uncompiled_after(module, args, kwargs, output)

    def _enlarged(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        leaves, form = tree_flatten(output)
        at = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        if not at or not torch.is_grad_enabled():
            return output
        inner = tuple(leaves[i] for i in at)
        given = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor) and leaf.requires_grad]
        own = [parameter for parameter in module.parameters() if parameter.requires_grad]
        nodes = _nodes(inner, {tensor.grad_fn for tensor in given})
        if not any(tensor.dtype in self.narrow for tensor in (*inner, *own)) and not _made(nodes, self.narrow):
            return output
        self._follow(inner[0].device)
        sources = tuple({id(tensor): tensor for tensor in (*given, *own, *_leaves(nodes))}.values())
        way = _Way(
            self,
            inner,
            sources,
            widens=all(parameter.dtype is not torch.float16 for parameter in own),
            once=any("CompiledFunction" in node.name() for node in nodes),
        )
        for i, tensor in zip(at, _Enlarged.apply(way, *sources), strict=True):
            leaves[i] = tensor
        return tree_unflatten(leaves, form)

    def judge(self, overflowed: Tensor) -> None:
        """Takes in whether a pass made a gradient that is not finite."""
        self.overflows += overflowed
        self._good = torch.where(overflowed, 0, self._good + 1)
        grown = torch.where(self._good >= PATIENCE, self.scale * GROWTH, self.scale)
        self._good = self._good % PATIENCE
        self.scale = torch.where(overflowed, self.scale * SHRINK, grown).clamp(LEAST, MOST)

    def _follow(self, device: torch.device) -> None:
        if self.scale.device != device:
            self.scale, self.overflows, self._good = (t.to(device) for t in (self.scale, self.overflows, self._good))


@dataclass(frozen=True, slots=True)
class _Way:
    """What a pass through the network led from and to.

    Its outputs come out in float32 where it `widens` those in float16, and it can be gone back only `once` where a part of it
    is a compiled graph.
    """

    keeper: LossScaling
    inner: tuple[Tensor, ...]
    sources: tuple[Tensor, ...]
    widens: bool
    once: bool


class _Enlarged(torch.autograd.Function):
    """Passes tensors on. Backwards it runs the pass behind them itself, on a larger gradient, and divides what arrives.

    That a pass of its own is run keeps apart what comes through the outputs from what reaches the same parameters another way.
    """

    @staticmethod
    def forward(ctx: Any, way: _Way, *sources: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        del sources
        ctx.way = way
        ctx.set_materialize_grads(False)
        return tuple(t.detach().float() if way.widens and t.dtype is torch.float16 else t.detach() for t in way.inner)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        way: _Way = ctx.way
        scale = way.keeper.scale
        pairs = [(tensor, g) for tensor, g in zip(way.inner, gradients, strict=True) if g is not None]
        if not pairs:
            return None, *[None for _ in way.sources]
        twice = torch.is_grad_enabled()
        with _without_hooks(way.sources):
            given = torch.autograd.grad(
                [tensor for tensor, _ in pairs],
                way.sources,
                [_times(g, scale, tensor.dtype) for tensor, g in pairs],
                retain_graph=twice or not way.once,
                create_graph=twice,
                allow_unused=True,
            )
        found = cast("tuple[Tensor | None, ...]", given)
        real = [g for g in found if g is not None]
        overflowed = ~torch.stack([torch.isfinite(_values(g)).all().to(scale.device) for g in real]).all() if real else scale < 0
        way.keeper.judge(overflowed)
        back = torch.where(overflowed, 0.0, 1.0 / scale)
        return None, *[None if g is None else _finite(_times(g, back, g.dtype), overflowed) for g in found]


@final
class DropOverflow:
    """Hooks before and after an optimizer's step: it passes over gradients of which a part overflowed, as GradScaler has it."""

    def __init__(self, keeper: LossScaling) -> None:
        self._keeper = keeper
        self._seen = 0
        self._withheld = Withheld()

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """The hook before a step: without gradients an optimizer moves nothing, and keeps its state."""
        return when_there(optimizer, args, kwargs, self._look)

    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """The hook after a step: the gradients are there again for whoever reads them."""
        del optimizer, args, kwargs
        self._withheld.give_back()

    def _look(self, optimizer: Optimizer) -> None:
        overflows = int(self._keeper.overflows)
        if overflows == self._seen:
            return
        self._seen = overflows
        self._withheld.take(optimizer)


def _aliased(arguments: Any) -> Any:
    """Arguments whose tensors with gradients are others of the same values, which carry nobody's hooks."""
    if not torch.is_grad_enabled():
        return arguments
    return tree_map_only(Tensor, lambda tensor: tensor.view_as(tensor) if tensor.requires_grad else tensor, arguments)


@contextmanager
def _without_hooks(tensors: Sequence[Tensor]) -> Generator[None]:
    """Keeps the hooks of tensors from being called with a gradient that is not the true one; they are called with that later."""
    held = [(hooks, dict(hooks)) for tensor in tensors if (hooks := tensor._backward_hooks)]
    for hooks, _ in held:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, own in held:
            hooks.update(own)


def _times(gradient: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """The product in a type. It is taken in float32 or wider: 2^16 is no number of float16."""
    wide = torch.promote_types(gradient.dtype, torch.float32)
    return (gradient.to(wide) * factor.to(gradient.device)).to(dtype)


def _finite(gradient: Tensor, overflowed: Tensor) -> Tensor:
    """The gradient; zeros where the pass overflowed, so that a copy of the network without our step hook stays sound."""
    if gradient.is_sparse:
        return gradient
    return torch.where(overflowed.to(gradient.device), torch.zeros((), dtype=gradient.dtype, device=gradient.device), gradient)


def _values(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _made(nodes: Sequence[Node], types: tuple[torch.dtype, ...]) -> bool:
    """Whether some operation made a tensor of one of these types."""
    return any(each.dtype in types for node in nodes for each in node._input_metadata)  # pyright: ignore[reportPrivateUsage]


def _leaves(nodes: Sequence[Node]) -> Iterator[Tensor]:
    """The tensors that have a gradient of their own and at which some operations of a graph end."""
    for node in nodes:
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            yield variable


def _nodes(outputs: Sequence[Tensor], stops: set[Node | None]) -> list[Node]:
    """The operations on which outputs depend, down to `stops`."""
    stack = [tensor.grad_fn for tensor in outputs]
    seen = set(stops)
    found: list[Node] = []
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        found.append(node)
        stack.extend(next_node for next_node, _ in node.next_functions)
    return found
