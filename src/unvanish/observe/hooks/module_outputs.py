"""Which tensor of a module's output is measured."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor  # pyright: ignore[reportMissingModuleSource]

from unvanish.network.distributed_tensors import local_part
from unvanish.observe.statistics import tensor_statistics


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor of a module's output: itself, or in a tuple, list, dict or data class; None where there is none.

    Example:
        >>> first_tensor({"loss": None, "logits": (Tensor([1.0, 2.0]),)})
        tensor([1., 2.])
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, dict):
        output = tuple(output.values())
    elif is_dataclass(output) and not isinstance(output, type):
        output = tuple(getattr(output, f.name) for f in fields(output))
    items = output if isinstance(output, tuple | list) else ()
    return next((t for t in map(first_tensor, items) if t is not None), None)


def is_measurable_output(tensor: Tensor) -> bool:
    """Whether a module's output can be measured: not a scalar, nor a tensor within a transform of torch.func."""
    return tensor_statistics.is_measurable(local_part(tensor)) and tensor.dim() > 0 and not is_functorch_wrapped_tensor(tensor)
