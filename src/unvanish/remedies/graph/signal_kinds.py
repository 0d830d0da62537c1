"""Classifies modules and functional calls by what they do to a signal: weight, activation, normalisation, reshape, ..."""

from __future__ import annotations

from enum import Enum, auto

from torch import nn

from unvanish.network import module_kinds
from unvanish.network.module_kinds import WEIGHTED
from unvanish.remedies.layers.channel_norm import ChannelRMSNorm
from unvanish.remedies.layers.dynamic_tanh import DynamicTanh
from unvanish.remedies.layers.online_norm import OnlineNorm
from unvanish.remedies.layers.tailored import TailoredActivation, tailored

ACTIVATIONS = (*module_kinds.ACTIVATIONS.values(), TailoredActivation)
NORMALISATIONS = (*module_kinds.NORMALISATIONS, ChannelRMSNorm, DynamicTanh, OnlineNorm)
# One kernel uses all parameters of these, whose scales belong together: remedies change neither modules nor weights inside.
FUSED = (*module_kinds.RECURRENT, *module_kinds.ATTENTION)
# These also keep flags about the modules inside them, which a replacement would make wrong; their weights are ordinary ones.
SEALED = (*FUSED, nn.Transformer, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


def op_name(name: str) -> str:
    """One name for an operation, whether a class, a function or a method.

    Example:
        >>> op_name("LeakyReLU"), op_name("leaky_relu_")
        ('leakyrelu', 'leakyrelu')
    """
    return name.replace("_", "").lower()


_ACTIVATION_CALLS = frozenset(map(op_name, (*module_kinds.ACTIVATIONS, TailoredActivation.__name__, tailored.__name__)))
_NORMALISATION_CALLS = frozenset(map(op_name, module_kinds.NORMALISATION_FUNCTIONS))
_WEIGHT_CALLS = module_kinds.MATRIX_PRODUCTS | {"linear", "bilinear", "addmm"}
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
    """Keeps the position and the length of the channel axis."""
    RESHAPE = auto()
    PRODUCT = auto()
    OTHER = auto()


def kind_of(module: nn.Module) -> Kind:
    """The kind of a module that is one operation. A module of unknown class that has parameters counts as WEIGHT."""
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
    """Whether a module counts as one operation, whose submodules are ignored. Containers and the user's own classes do not."""
    if isinstance(module, (*WEIGHTED, *ACTIVATIONS, *NORMALISATIONS, *SEALED)):
        return True
    return type(module).__module__.startswith("torch.nn") and not isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))
