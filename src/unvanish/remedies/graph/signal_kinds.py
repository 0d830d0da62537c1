"""Sorts modules and functional calls by what they do to a signal. It knows torch's own vocabulary and looks at no values."""

from __future__ import annotations

from enum import Enum, auto
from typing import TypeAlias

from torch import nn

from unvanish.remedies.layers.channel_norm import ChannelRMSNorm
from unvanish.remedies.layers.dynamic_tanh import DynamicTanh
from unvanish.remedies.layers.online_norm import OnlineNorm
from unvanish.remedies.layers.tailored import TailoredActivation, tailored

WeightedLayer: TypeAlias = (
    nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
)

WEIGHTED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
ACTIVATIONS = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Softplus,
    nn.Sigmoid,
    nn.Hardsigmoid,
    nn.LogSigmoid,
    nn.Tanh,
    nn.Hardtanh,  # and nn.ReLU6, its subclass
    nn.Softsign,
    nn.Tanhshrink,
    nn.Softshrink,
    nn.Hardshrink,
    nn.Threshold,
    TailoredActivation,
)
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
    ChannelRMSNorm,
    DynamicTanh,
    OnlineNorm,
)
# One kernel runs over all parameters of these, whose scales belong together: neither modules nor weights inside are ours.
FUSED = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
# These also keep flags about the modules inside them, which an exchange would belie; their weights are ordinary ones.
SEALED = (*FUSED, nn.Transformer, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)

_ACTIVATION_CALLS = frozenset(kind.__name__.lower() for kind in (*ACTIVATIONS, nn.ReLU6, tailored))
_NORMALISATION_CALLS = frozenset({"batchnorm", "instancenorm", "layernorm", "rmsnorm", "groupnorm", "localresponsenorm"})
_WEIGHT_CALLS = frozenset({"linear", "bilinear", "matmul", "mm", "bmm", "addmm", "einsum"})
_WEIGHT_PREFIXES = ("conv", "scaleddotproduct")
_PRODUCT_CALLS = frozenset({"mul", "imul", "multiply"})
ARITHMETIC = _PRODUCT_CALLS | {"add", "iadd", "sub", "isub", "rsub", "div", "truediv", "neg"}
_RESHAPE_CALLS = frozenset(
    {"view", "viewas", "reshape", "squeeze", "unsqueeze", "expand", "expandas", "flatten", "unflatten", "permute", "transpose"}
)
_NEUTRAL_CALLS = frozenset({"contiguous", "clone", "identity"})
_NEUTRAL_WORDS = ("dropout", "pool")


class Kind(Enum):
    """What an operation does to the signal that passes through it."""

    WEIGHT = auto()
    ACTIVATION = auto()
    NORMALISATION = auto()
    NEUTRAL = auto()
    """Leaves the channel axis where it is, and as long as it was."""
    RESHAPE = auto()
    PRODUCT = auto()
    OTHER = auto()


def op_name(name: str) -> str:
    """One spelling for one operation, whether a class, a function or a method: "leakyrelu" for LeakyReLU and leaky_relu_."""
    return name.replace("_", "").lower()


def kind_of(module: nn.Module) -> Kind:
    """The kind of a module that is taken as one operation. A module of unknown class that owns parameters counts as WEIGHT."""
    if isinstance(module, WEIGHTED):
        return Kind.WEIGHT
    if isinstance(module, ACTIVATIONS):
        return Kind.ACTIVATION
    if isinstance(module, NORMALISATIONS):
        return Kind.NORMALISATION
    if next(module.parameters(), None) is not None:
        return Kind.WEIGHT
    return kind_of_call(op_name(type(module).__name__))


def kind_of_call(op: str) -> Kind:
    """The kind of a functional call by its `op_name`."""
    if op in _ACTIVATION_CALLS:
        return Kind.ACTIVATION
    if op in _NORMALISATION_CALLS:
        return Kind.NORMALISATION
    if op in _WEIGHT_CALLS or op.startswith(_WEIGHT_PREFIXES):
        return Kind.WEIGHT
    if op in _PRODUCT_CALLS:
        return Kind.PRODUCT
    if op in _RESHAPE_CALLS:
        return Kind.RESHAPE
    if op in _NEUTRAL_CALLS or any(word in op for word in _NEUTRAL_WORDS):
        return Kind.NEUTRAL
    return Kind.OTHER


def is_one_operation(module: nn.Module) -> bool:
    """Whether a module is taken as one operation, its inside unseen. Containers and the user's own classes are not."""
    if isinstance(module, (*WEIGHTED, *ACTIVATIONS, *NORMALISATIONS, *SEALED)):
        return True
    return type(module).__module__.startswith("torch.nn") and not isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))
