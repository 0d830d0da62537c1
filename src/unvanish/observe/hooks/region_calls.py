"""Keeps the calls of compiled regions in a sampled step, and runs each again eagerly once its gradient is known, to measure inside.

What the script gets is always the compiled result. A region is run again only where that is known to do nothing but compute: not
where it has called backward, where an argument was written to since, or where processes train together and would wait for others.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.utils import _pytree as pytree

from unvanish.network.autocast import Autocasts, active_autocasts, autocasting
from unvanish.network.checkpoints import inline_checkpoints
from unvanish.network.random_state import preserved_random_state
from unvanish.observe.hooks.forward_hooks import ForwardWatch, ModuleCall
from unvanish.observe.output_head.graph_nodes import NodeKey, node_key

REGION_NAME = "compile_wrapper"  # the function of dynamo that runs a compiled region
REGION_MODULE = "torch._dynamo.eval_frame"
# Backends that run each operation by torch's own kernel, so that running eagerly changes no bit.
EXACT_BACKENDS = frozenset({"eager", "aot_eager"})


@dataclass(slots=True)
class RegionCall:
    """One call of a compiled region.

    `module_calls` are the module calls in progress around it, `autocasts` the device types and dtypes of autocast. `outputs` has
    the graph node and output number of each output that has a gradient, by its position among the tensors of the result.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    module_calls: list[ModuleCall]
    random_state: Tensor = field(default_factory=torch.get_rng_state)
    autocasts: Autocasts = ()
    versions: list[tuple[Tensor, int]] = field(default_factory=list[tuple[Tensor, int]])
    outputs: dict[int, tuple[NodeKey, int]] = field(default_factory=dict[int, tuple[NodeKey, int]])
    gradients: dict[int, Tensor] = field(default_factory=dict[int, Tensor])

    @property
    def code(self) -> CodeType | None:
        """The code that the region runs, which all its calls share; that of the forward method for a module."""
        function = self.function if self.module is None else type(self.module).forward
        return getattr(function, "__code__", None)

    @property
    def name(self) -> str:
        """What the function or the module's class is called."""
        return getattr(self.function, "__name__", "function") if self.module is None else type(self.module).__name__

    @property
    def module(self) -> nn.Module | None:
        """The module whose call the region is; None for a function."""
        owner = getattr(self.function, "__self__", None)
        return owner if isinstance(owner, nn.Module) else None

    def rounds_exactly(self, callback: Any) -> bool:
        """Whether the region computes the same bits eagerly as compiled by `callback`."""
        from torch._dynamo.backends import debugging

        while callback is not None:
            if any(callback is getattr(debugging, name, None) for name in EXACT_BACKENDS):
                return True
            callback = getattr(callback, "_torchdynamo_orig_backend", None)
        return False

    def record_result(self, result: Any) -> list[Tensor]:
        """The outputs; records where they are in the autograd graph, and has their gradients kept. The tensors are not held."""
        self.versions = [(t, t._version) for t in _tensors((self.args, self.kwargs)) if not t.is_inference()]
        outputs = _tensors(result)
        for position, tensor in enumerate(outputs):
            if tensor.grad_fn is not None:
                self.outputs[position] = node_key(tensor.grad_fn), tensor.output_nr
                tensor.grad_fn.register_prehook(_gradient_hook(self.gradients, position, tensor.output_nr))
        return outputs

    def is_unchanged(self) -> bool:
        """Whether the arguments still hold what the region was called with."""
        return all(tensor._version == version for tensor, version in self.versions)


def region_call(frame: FrameType, module_calls: list[ModuleCall]) -> RegionCall | None:
    """The call of which `frame` is dynamo's; None where it is another function of dynamo."""
    if not is_region_frame(frame):
        return None
    variables = frame.f_locals
    return RegionCall(variables["fn"], variables["args"], variables["kwargs"], module_calls, autocasts=active_autocasts())


def may_run_again(call: RegionCall) -> bool:
    """Whether nothing speaks against running a region again: its code names no backward, and no other process takes part."""
    distributed = torch.distributed
    is_alone = not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1
    return is_alone and "backward" not in (call.code.co_names if call.code is not None else ())


def is_region_frame(frame: FrameType) -> bool:
    """Whether a frame runs a compiled region."""
    return frame.f_code.co_name == REGION_NAME and frame.f_globals.get("__name__") == REGION_MODULE


def is_within_region() -> bool:
    """Whether this is called from a compiled region. Cost: a look at each frame of the stack."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if is_region_frame(frame):
            return True
        frame = frame.f_back
    return False


def run_again(call: RegionCall, forward: ForwardWatch) -> dict[tuple[NodeKey, int], Tensor]:
    """Runs a region eagerly with the hooks of `forward`, forwards and, with the gradients of its outputs, backwards.

    Random state, buffers and attributes of modules are afterwards as before, no parameter gets a gradient, and what it prints is
    dropped. Returns the eager outputs by graph node and output number of the compiled ones.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(preserved_random_state())
        stack.enter_context(torch.enable_grad())
        stack.enter_context(inline_checkpoints())
        stack.enter_context(autocasting(call.autocasts))
        stack.enter_context(_preserved_modules())
        torch.set_rng_state(call.random_state)
        with forward.replaying(call.module_calls, reports_calls=call.module is None) as edges:
            outputs = _tensors(call.function(*call.args, **call.kwargs))
    found = {p: outputs[p] for p in call.outputs if p < len(outputs) and outputs[p].requires_grad}
    differentiated = [(found[p], gradient) for p, gradient in call.gradients.items() if p in found]
    if edges and differentiated:
        roots, gradients = zip(*differentiated, strict=True)
        torch.autograd.grad(roots, edges, gradients, retain_graph=True, allow_unused=True)
    return {call.outputs[p]: tensor for p, tensor in found.items()}


@contextlib.contextmanager
def _preserved_modules() -> Generator[None]:
    """Every module that runs inside keeps its attributes, and its buffers their values."""
    attributes: dict[nn.Module, dict[str, Any]] = {}
    buffers: list[tuple[nn.Module, dict[str, Tensor | None], dict[str, Tensor]]] = []

    def keep(module: nn.Module, _args: Any) -> None:
        if module not in attributes:
            attributes[module] = dict(vars(module))
            own: dict[str, Tensor | None] = vars(module)["_buffers"]
            values = {name: buffer.detach().clone() for name, buffer in own.items() if buffer is not None}
            buffers.append((module, dict(own), values))

    handle = module_hooks.register_module_forward_pre_hook(keep)
    try:
        yield
    finally:
        handle.remove()
        for module, tensors, values in buffers:
            vars(module).clear()
            vars(module).update(attributes[module])
            own = vars(module)["_buffers"]
            own.clear()
            own.update(tensors)
            for name, value in values.items():
                tensors[name].data.copy_(value)  # pyright: ignore[reportOptionalMemberAccess]


def _gradient_hook(gradients: dict[int, Tensor], position: int, output: int) -> Callable[[tuple[Tensor | None, ...]], None]:
    def keep(arrived: tuple[Tensor | None, ...]) -> None:
        if (gradient := arrived[output]) is not None:
            gradients[position] = gradient.detach()

    return keep


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
