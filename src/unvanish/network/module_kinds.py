"""The layers of `torch.nn` by kind, and the functions of torch that compute the same.

`observe`, `tracing` and `remedies` each have a vocabulary of their own, which they build from these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from torch import nn

WeightedLayer: TypeAlias = (
    nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
)
# Layers with one weight matrix or kernel and one input. nn.Bilinear has two.
WEIGHTED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
ATTENTION = (nn.MultiheadAttention,)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
NORMALISATIONS = (
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
)
POOLING = (
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
)

# Modules that hold parameters for another one, which computes with them.
PARAMETER_CONTAINERS = (nn.ParameterList, nn.ParameterDict)

# Elementwise activations by the name of their function in torch.nn.functional.
ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "sigmoid": nn.Sigmoid,
    "hardsigmoid": nn.Hardsigmoid,
    "logsigmoid": nn.LogSigmoid,
    "tanh": nn.Tanh,
    "hardtanh": nn.Hardtanh,
    "tanhshrink": nn.Tanhshrink,
    "softsign": nn.Softsign,
    "softplus": nn.Softplus,
    "hardswish": nn.Hardswish,
    "softshrink": nn.Softshrink,
    "hardshrink": nn.Hardshrink,
    "threshold": nn.Threshold,
    "prelu": nn.PReLU,  # has a parameter
    "rrelu": nn.RReLU,  # draws random numbers in training mode
}
NORMALISATION_FUNCTIONS = frozenset({"batch_norm", "instance_norm", "layer_norm", "rms_norm", "group_norm", "local_response_norm"})
WEIGHT_FUNCTIONS = frozenset(
    {"linear", "bilinear", *(f"{kind}{axes}d" for kind in ("conv", "conv_transpose") for axes in (1, 2, 3))}
)
MATRIX_PRODUCTS = frozenset({"matmul", "mm", "bmm", "einsum"})  # of two matrices, either of which may be a parameter


def has_children(module: nn.Module) -> bool:
    """Whether a module has modules in it that it may call; lists and dictionaries of parameters are none."""
    return any(not isinstance(child, PARAMETER_CONTAINERS) for child in module.children())


def own_parameters(module: nn.Module, *, recurse: bool = False) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that a module computes with itself, by their dotted name in it: also those that a container holds for it.

    With `recurse`, those of its children too. A class that overrides `named_parameters` is asked as a plain module.

    Example:
        >>> import torch
        >>> scale = nn.Module()
        >>> scale.weights = nn.ParameterDict({"gain": nn.Parameter(torch.ones(3))})
        >>> [name for name, _ in own_parameters(scale)]
        ['weights.gain']
    """
    yield from nn.Module.named_parameters(module, recurse=recurse)
    if recurse:
        return
    for name, child in module.named_children():
        if isinstance(child, PARAMETER_CONTAINERS):
            yield from ((f"{name}.{key}", parameter) for key, parameter in child.named_parameters())


def torch_class_name(module: nn.Module) -> str:
    """The name of the most special class of torch.nn that a module is an instance of: "Module" for most of the user's own.

    Example:
        >>> torch_class_name(nn.MultiheadAttention(4, 2).out_proj)
        'Linear'
    """
    return next(kind.__name__ for kind in type(module).__mro__ if getattr(nn, kind.__name__, None) is kind)
