"""The part of a tensor that this process holds, where tensors are divided among processes (FSDP2, tensor parallel).

Nothing here communicates with other processes: a collective operation that only one of them calls would wait for ever."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN_TYPES = (Tensor, nn.Parameter)


def is_distributed(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor, of which this process may hold a part only."""
    if type(tensor) in _PLAIN_TYPES:
        return False
    # Where the package has not been imported, no tensor can be of its class; importing it would take a second.
    kind: Any = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)
    return kind is not None and isinstance(tensor, kind)


def local_part(tensor: Tensor) -> Tensor:
    """The detached part of a DTensor that lies in this process; any other tensor is returned as it is.

    Of a tensor that each process holds whole, that is all of it; of one that is divided, the part may be empty.

    Example:
        >>> tensor = torch.ones(3)
        >>> local_part(tensor) is tensor
        True
    """
    if not is_distributed(tensor):
        return tensor
    with torch.no_grad():
        distributed: Any = tensor
        return distributed.to_local()


def is_released(tensor: Tensor) -> bool:
    """Whether the memory of a plain tensor is given back, as that of a gathered weight is between the passes that use it.

    Example:
        >>> weight = torch.ones(3)
        >>> weight.untyped_storage().resize_(0) is None, is_released(weight)
        (False, True)
    """
    if type(tensor) not in _PLAIN_TYPES or tensor.is_meta or tensor.layout is not torch.strided:
        return False
    return tensor.numel() > 0 and tensor.untyped_storage().nbytes() == 0


def original_class(module: nn.Module) -> type[nn.Module]:
    """The class of a module as the program wrote it: `fully_shard` gives a module a subclass of its own.

    Example:
        >>> original_class(nn.Linear(1, 1))
        <class 'torch.nn.modules.linear.Linear'>
    """
    kind = type(module)
    first, *others = kind.__bases__
    return others[0] if first.__name__ == "FSDPModule" and others else kind
