"""The functional activations that are observed, and the kind of every module (weight, activation, normalisation, ...)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unvanish.network import module_kinds

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


def kind_of(module: nn.Module) -> str:
    """The kind of the site at a module's output; "merge" for other modules with children, "weight" for others with parameters."""
    for kind, classes in MODULE_KINDS:
        if isinstance(module, classes):
            return kind
    if next(module.children(), None) is not None:
        return "merge"
    return "weight" if next(module.parameters(recurse=False), None) is not None else "other"


def has_fast_path(module: nn.Module) -> bool:
    """Whether torch may run a module by a fused kernel, which it gives up, with other last bits, while functions are watched."""
    return not module.training and isinstance(module, nn.TransformerEncoder | nn.TransformerEncoderLayer | nn.MultiheadAttention)
