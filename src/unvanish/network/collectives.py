"""Keeps code from communicating with other processes, where one of them runs it alone: a collective would wait for ever."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

_NAMESPACES = frozenset({"c10d", "_c10d_functional", "_c10d_functional_autograd", "_dtensor"})


class CollectiveForbidden(RuntimeError):
    """A collective operation was about to run, such as that of a batch normalisation over all processes."""


class ForbiddingCollectives(TorchDispatchMode):
    """A context in which an operation that communicates with other processes raises CollectiveForbidden before it begins.

    Example:
        >>> import torch
        >>> with ForbiddingCollectives():
        ...     torch.ones(2).sum().item()
        2.0
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The operation's own result."""
        if func.namespace in _NAMESPACES:
            raise CollectiveForbidden(f"{func} communicates with other processes")
        return func(*args, **(kwargs or {}))
