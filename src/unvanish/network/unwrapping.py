"""Finds the network inside compiled and data-parallel wrappers."""

from __future__ import annotations

from torch import nn

from unvanish.record.model_wrappers import DATA_PARALLEL, WRAPPED_ATTRIBUTES


def wrapped_module(module: nn.Module) -> nn.Module | None:
    """The module directly inside a wrapper that only runs it; None where `module` is no wrapper.

    A subclass of a wrapper is a wrapper too.
    """
    for parent in type(module).__mro__:
        if parent.__name__ in WRAPPED_ATTRIBUTES:
            inner = getattr(module, WRAPPED_ATTRIBUTES[parent.__name__], None)
            return inner if isinstance(inner, nn.Module) else None
    return None


def without_data_parallel(module: nn.Module) -> nn.Module:
    """The network that a data-parallel wrapper calls with its own arguments; any other module itself.

    Example:
        >>> from torch import nn
        >>> network = nn.Linear(2, 2)
        >>> without_data_parallel(nn.DataParallel(network)) is without_data_parallel(network) is network
        True
    """
    is_wrapper = any(parent.__name__ in DATA_PARALLEL for parent in type(module).__mro__)
    inner = wrapped_module(module) if is_wrapper else None
    return module if inner is None else without_data_parallel(inner)


def unwrapped(module: nn.Module) -> nn.Module:
    """The network inside any number of wrappers that only run it (torch.compile, data-parallel); a plain module itself.

    Example:
        >>> from torch import nn
        >>> network = nn.Linear(2, 2)
        >>> unwrapped(nn.DataParallel(network)) is network
        True
    """
    inner = wrapped_module(module)
    return module if inner is None else unwrapped(inner)
