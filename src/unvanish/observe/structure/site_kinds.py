"""What an operation is: the functional activations that are watched, and the kind of every module. It runs none of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Elementwise activations by their common name: each is looked for in torch.nn.functional, torch and torch.Tensor, since
# `F.relu(x)`, `torch.relu(x)` and `x.relu()` are the same operation. Random ones (rrelu, dropout) are left out: to evaluate
# them once more would move the user's random state.
ELEMENTWISE = (
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "mish",
    "sigmoid",
    "hardsigmoid",
    "logsigmoid",
    "tanh",
    "hardtanh",
    "tanhshrink",
    "softsign",
    "softplus",
    "hardswish",
    "softshrink",
    "hardshrink",
    "threshold",
    "erf",
    "clamp",
    "clip",
)
# Activations that act on a whole row: observed like the others, but without a slope for each element.
ROWWISE = ("softmax", "log_softmax", "glu", "prelu")

MODULE_KINDS: tuple[tuple[str, tuple[type[nn.Module], ...]], ...] = (
    (
        "weight",
        (
            nn.Linear,
            nn.Bilinear,
            nn.Conv1d,
            nn.Conv2d,
            nn.Conv3d,
            nn.ConvTranspose1d,
            nn.ConvTranspose2d,
            nn.ConvTranspose3d,
        ),
    ),
    ("recurrence", (nn.RNNBase, nn.RNNCellBase)),
    ("attention", (nn.MultiheadAttention,)),
    ("embedding", (nn.Embedding, nn.EmbeddingBag)),
    (
        "normalisation",
        (
            nn.BatchNorm1d,
            nn.BatchNorm2d,
            nn.BatchNorm3d,
            nn.SyncBatchNorm,
            nn.InstanceNorm1d,
            nn.InstanceNorm2d,
            nn.InstanceNorm3d,
            nn.LayerNorm,
            nn.RMSNorm,
            nn.GroupNorm,
            nn.LocalResponseNorm,
        ),
    ),
    (
        "pooling",
        (
            nn.MaxPool1d,
            nn.MaxPool2d,
            nn.MaxPool3d,
            nn.AvgPool1d,
            nn.AvgPool2d,
            nn.AvgPool3d,
            nn.AdaptiveAvgPool1d,
            nn.AdaptiveAvgPool2d,
            nn.AdaptiveMaxPool1d,
            nn.AdaptiveMaxPool2d,
        ),
    ),
)

# Wrappers that run another module as it is: the network is what they wrap.
WRAPPERS: tuple[tuple[str, str], ...] = (
    ("OptimizedModule", "_orig_mod"),
    ("DataParallel", "module"),
    ("DistributedDataParallel", "module"),
)


@cache
def functional_activations() -> dict[Callable[..., Any], str]:
    """Every spelling of every watched activation, and its common name."""
    found: dict[Callable[..., Any], str] = {}
    for name in (*ELEMENTWISE, *ROWWISE):
        for spelling in (name, f"{name}_"):
            for home in (F, torch, Tensor, torch.special):
                function = getattr(home, spelling, None)
                if callable(function):
                    found[function] = name
    return found


def kind_of(module: nn.Module) -> str:
    """The kind of a site that is a module's output."""
    for kind, classes in MODULE_KINDS:
        if isinstance(module, classes):
            return kind
    if next(module.children(), None) is not None:
        return "merge"
    return "weight" if next(module.parameters(recurse=False), None) is not None else "other"


def has_fast_path(module: nn.Module) -> bool:
    """Whether torch may run a module by a fused kernel that it gives up, with other last bits, while functions are watched."""
    return not module.training and isinstance(module, nn.TransformerEncoder | nn.TransformerEncoderLayer | nn.MultiheadAttention)


def unwrapped(module: nn.Module) -> nn.Module:
    """The module behind wrappers that only run it (compiled, data-parallel)."""
    for class_name, attribute in WRAPPERS:
        if type(module).__name__ == class_name and isinstance(inner := getattr(module, attribute, None), nn.Module):
            return unwrapped(inner)
    return module
