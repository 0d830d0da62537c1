"""Parses modules from the text of an edit, such as "LeakyReLU(negative_slope=0.01)", and writes their arguments."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from unvanish.patch.source.definitions import DEFINED_CLASSES
from unvanish.patch.text_replacements import NotExpressible


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """A module of torch.nn: its class, and its arguments by position and by name."""

    class_name: str
    positional: tuple[object, ...] = ()
    named: Mapping[str, object] = field(default_factory=dict[str, object])


ACTIVATIONS: Mapping[str, tuple[str, object] | None] = MappingProxyType(
    {
        "ReLU": None,
        "SELU": None,
        "SiLU": None,
        "Identity": None,
        "GELU": ("approximate", "none"),
        "ELU": ("alpha", 1.0),
        "LeakyReLU": ("negative_slope", 0.01),
        "TailoredActivation": None,
    }
)
"""The activations that remedies insert, with their one argument and torch's default for it; TailoredActivation has several."""

_ALWAYS_WRITTEN = frozenset({"LeakyReLU"})
"""Activations of which a person writes the argument even where it is the default."""

BATCH_NORMS = frozenset({"BatchNorm1d", "BatchNorm2d", "BatchNorm3d"})
NORMALISATIONS = frozenset({*BATCH_NORMS, "LayerNorm", "RMSNorm", "GroupNorm", "ChannelRMSNorm", "DynamicTanh", "OnlineNorm"})
"""The normalisations that remedies insert: those of torch.nn, and classes that a patch defines."""


def parse_modules(text: str) -> tuple[ModuleSpec, ...]:
    """The modules in the text of an edit, separated by commas. Raises NotExpressible where they are not written as calls."""
    try:
        tree = ast.parse(f"[{text}]", mode="eval").body
        calls = tree.elts if isinstance(tree, ast.List) else []
        return tuple(_parse_module(call) for call in calls)
    except (SyntaxError, ValueError) as fault:
        raise NotExpressible(f"{text.splitlines()[0]} is no module that can be written down") from fault


def _parse_module(node: ast.expr) -> ModuleSpec:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError(ast.unparse(node))
    named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg is not None}
    return ModuleSpec(node.func.id, tuple(ast.literal_eval(argument) for argument in node.args), named)


def activation_arguments(module: ModuleSpec) -> str:
    """The arguments of an activation as a person would write them. Raises NotExpressible for a module that is none."""
    if module.class_name in DEFINED_CLASSES:
        return ", ".join([*map(repr, module.positional), *(f"{name}={value!r}" for name, value in module.named.items())])
    if module.class_name not in ACTIVATIONS:
        raise NotExpressible(f"{module.class_name} is no activation of torch")
    argument = ACTIVATIONS[module.class_name]
    if argument is None or not (module.named or module.positional):
        return ""
    name, default = argument
    value = module.positional[0] if module.positional else module.named.get(name)
    return "" if value == default and module.class_name not in _ALWAYS_WRITTEN else repr(value)


def has_default_argument(module: ModuleSpec) -> bool:
    """Whether the class alone specifies an activation: its argument is torch's default."""
    argument = ACTIVATIONS.get(module.class_name)
    values = [*module.positional, *module.named.values()]
    return module.class_name in ACTIVATIONS and (not values or (argument is not None and values == [argument[1]]))


def normalisation_arguments(module: ModuleSpec, width: str) -> str:
    """The arguments of a normalisation of `width` features. Raises NotExpressible for a module that is none."""
    if module.class_name not in NORMALISATIONS:
        raise NotExpressible(f"{module.class_name} is no normalisation")
    if module.class_name == "GroupNorm":
        return f"{module.positional[0]}, {width}"
    named = module.named if module.class_name in DEFINED_CLASSES else {}
    return ", ".join([width, *(f"{name}={value!r}" for name, value in named.items())])


def feature_count(module: ModuleSpec) -> int:
    """The number of features that a normalisation has. Raises NotExpressible for a module that is none."""
    if module.class_name not in NORMALISATIONS or not module.positional:
        raise NotExpressible(f"{module.class_name} is no normalisation")
    last = module.positional[-1]
    return int(last[-1] if isinstance(last, tuple) else str(last))
