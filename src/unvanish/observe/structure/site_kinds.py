"""The functional activations that are observed, and the kind of every module (weight, activation, normalisation, ...)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from unvanish.network import module_kinds
from unvanish.network.unwrapping import wrapped_module

# Elementwise activations by their common name: each is looked for in torch.nn.functional, torch and torch.Tensor, since
# `F.relu(x)`, `torch.relu(x)` and `x.relu()` are the same operation. Random ones (rrelu, dropout) are left out: to evaluate
# them once more would move the user's random state.
ELEMENTWISE = (*(name for name in module_kinds.ACTIVATIONS if name not in ("prelu", "rrelu")), "erf", "clamp", "clip")
# Activations that act on a whole row: observed like the others, but without a slope for each element.
ROWWISE = ("softmax", "log_softmax", "glu", "prelu")

MODULE_KINDS: tuple[tuple[str, tuple[type[nn.Module], ...]], ...] = (
    ("weight", (*module_kinds.WEIGHTED, nn.Bilinear)),
    ("recurrence", module_kinds.RECURRENT),
    ("attention", module_kinds.ATTENTION),
    ("embedding", module_kinds.EMBEDDINGS),
    ("normalisation", module_kinds.NORMALISATIONS),
    ("pooling", module_kinds.POOLING),
)


@cache
def functional_activations() -> dict[Callable[..., Any], str]:
    """The common name of every observed activation, by the function in each of torch's namespaces."""
    names: dict[Callable[..., Any], str] = {}
    for name in (*ELEMENTWISE, *ROWWISE):
        for spelling in (name, f"{name}_"):
            for namespace in (F, torch, Tensor, torch.special):
                function = getattr(namespace, spelling, None)
                if callable(function):
                    names[function] = name
    return names


def kind_of(module: nn.Module, *, has_called_modules: bool = False) -> str:
    """The kind of the site at a module's output.

    The classes of torch are known. Of any other it counts what a module has and does: one that has called others in its forward
    pass, or wraps one, is a "merge" of what these put out. One that has not is a "weight" where it, or a child of it, has
    floating-point parameters, and a "normalisation" where these are vectors at most and its class says so; else it is "other".

    Example:
        >>> class RootMeanSquareNorm(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.gain = nn.Parameter(torch.ones(8))
        >>> kind_of(RootMeanSquareNorm()), kind_of(nn.Sequential(nn.Linear(8, 8)), has_called_modules=True)
        ('normalisation', 'merge')
    """
    for kind, classes in MODULE_KINDS:
        if isinstance(module, classes):
            return kind
    has_modules = module_kinds.has_children(module)
    if has_called_modules or wrapped_module(module) is not None or (has_modules and type(module).__module__.startswith("torch.")):
        return "merge"
    parameters = [p for _, p in module_kinds.own_parameters(module, recurse=True) if p.is_floating_point()]
    if "norm" in type(module).__name__.lower() and all(is_lazy(p) or p.dim() <= 1 for p in parameters):
        return "normalisation"
    return "weight" if parameters else "merge" if has_modules else "other"


def has_fast_path(module: nn.Module) -> bool:
    """Whether torch may run a module by a fused kernel, which it gives up, with other last bits, while functions are watched."""
    return not module.training and isinstance(module, nn.TransformerEncoder | nn.TransformerEncoderLayer | nn.MultiheadAttention)
