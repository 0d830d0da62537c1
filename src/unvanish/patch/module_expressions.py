"""Modules as a plan spells them, and as a person would write them: "LeakyReLU(negative_slope=0.01)" is nn.LeakyReLU(0.01)."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from unvanish.patch.draft import Unsayable


@dataclass(frozen=True, slots=True)
class Module:
    """A module of torch.nn: its class, and its arguments as a plan spells them, by position and by name."""

    kind: str
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
    }
)
"""The activations that remedies put in, with their one argument and torch's default for it."""

_SHOWN = frozenset({"LeakyReLU"})
"""Those of which a person writes the argument even so."""

BATCH_NORMS = frozenset({"BatchNorm1d", "BatchNorm2d", "BatchNorm3d"})
NORMALISATIONS = frozenset({*BATCH_NORMS, "LayerNorm", "RMSNorm", "GroupNorm"})
"""The normalisations of torch.nn that remedies put in."""


def modules_of(text: str) -> tuple[Module, ...]:
    """The modules that an edit spells, separated by commas. Raises Unsayable where they are not written as calls."""
    try:
        tree = ast.parse(f"[{text}]", mode="eval").body
        calls = tree.elts if isinstance(tree, ast.List) else []
        return tuple(_module(call) for call in calls)
    except (SyntaxError, ValueError) as fault:
        raise Unsayable(f"{text.splitlines()[0]} is no module that can be written down") from fault


def _module(node: ast.expr) -> Module:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError(ast.unparse(node))
    named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg is not None}
    return Module(node.func.id, tuple(ast.literal_eval(each) for each in node.args), named)


def activation_arguments(module: Module) -> str:
    """The arguments of an activation as a person would write them. Raises Unsayable for a module that is none of torch's."""
    if module.kind not in ACTIVATIONS:
        raise Unsayable(f"{module.kind} is no activation of torch")
    known = ACTIVATIONS[module.kind]
    given = {**module.named, **({known[0]: module.positional[0]} if known is not None and module.positional else {})}
    if known is None or not given:
        return ""
    name, default = known
    return "" if given.get(name) == default and module.kind not in _SHOWN else repr(given.get(name))


def is_plain(module: Module) -> bool:
    """Whether a class alone says all of an activation: its argument is torch's default."""
    known = ACTIVATIONS.get(module.kind)
    given = [*module.positional, *module.named.values()]
    return module.kind in ACTIVATIONS and (not given or (known is not None and given == [known[1]]))


def normalisation_arguments(module: Module, width: str) -> str:
    """The arguments of a normalisation over so many features. Raises Unsayable for a module that is none of torch's."""
    if module.kind not in NORMALISATIONS:
        raise Unsayable(f"{module.kind} is no normalisation of torch")
    return f"{module.positional[0]}, {width}" if module.kind == "GroupNorm" else width


def features_of(module: Module) -> int:
    """Over how many features a normalisation runs. Raises Unsayable for a module that is none of torch's."""
    if module.kind not in NORMALISATIONS or not module.positional:
        raise Unsayable(f"{module.kind} is no normalisation of torch")
    last = module.positional[-1]
    return int(last[-1] if isinstance(last, tuple) else str(last))
