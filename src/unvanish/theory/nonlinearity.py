"""The catalogue of activations, each with its derivatives and its kinks. It integrates nothing and knows no network."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy import special

from unvanish.errors import UsageError
from unvanish.theory import formulas
from unvanish.theory.gaussian import Function

SELU_ALPHA = 1.6732632423543772  # Klambauer 2017, arXiv 1706.02515
SELU_SCALE = 1.0507009873554805  # the same
LEAKY_SLOPE = 0.01  # PyTorch's default
ELU_ALPHA = 1.0  # PyTorch's default


@dataclass(frozen=True, slots=True)
class Nonlinearity:
    """An activation phi, elementwise on float64 arrays.

    `second` is None where phi' jumps, for then phi'' is no function. `kinks` are the arguments where a derivative
    that is used jumps. Two are equal when name and settings are.
    """

    name: str
    function: Function = field(compare=False, repr=False)
    derivative: Function = field(compare=False, repr=False)
    second: Function | None = field(compare=False, repr=False)
    kinks: tuple[float, ...] = ()
    settings: tuple[tuple[str, float], ...] = ()


def leaky_relu(*, slope: float = LEAKY_SLOPE) -> Nonlinearity:
    """The leaky ReLU with that slope below zero."""
    function = partial(formulas.leaky_relu, slope=slope)
    derivative = partial(formulas.leaky_relu_derivative, slope=slope)
    return Nonlinearity("leaky-relu", function, derivative, None, (0.0,), (("slope", slope),))


def elu(*, alpha: float = ELU_ALPHA) -> Nonlinearity:
    """The ELU that tends to -alpha; its slope is continuous for alpha = 1 only."""
    parts = [partial(part, alpha=alpha) for part in (formulas.elu, formulas.elu_derivative, formulas.elu_second)]
    return Nonlinearity("elu", parts[0], parts[1], parts[2] if alpha == 1.0 else None, (0.0,), (("alpha", alpha),))


def selu() -> Nonlinearity:
    """The SELU (Klambauer 2017, arXiv 1706.02515)."""
    function = partial(formulas.elu, alpha=SELU_ALPHA, scale=SELU_SCALE)
    return Nonlinearity("selu", function, partial(formulas.elu_derivative, alpha=SELU_ALPHA, scale=SELU_SCALE), None, (0.0,))


FIXED = (
    Nonlinearity("linear", formulas.linear, np.ones_like, np.zeros_like),
    Nonlinearity("sigmoid", special.expit, formulas.sigmoid_derivative, formulas.sigmoid_second),
    Nonlinearity("tanh", np.tanh, formulas.tanh_derivative, formulas.tanh_second),
    Nonlinearity("hard-tanh", formulas.hard_tanh, formulas.hard_tanh_derivative, None, (-1.0, 1.0)),
    Nonlinearity("hard-sigmoid", formulas.hard_sigmoid, formulas.hard_sigmoid_derivative, None, (-3.0, 3.0)),
    Nonlinearity("softsign", formulas.softsign, formulas.softsign_derivative, formulas.softsign_second, (0.0,)),
    Nonlinearity("relu", formulas.relu, formulas.relu_derivative, None, (0.0,)),
    Nonlinearity("relu6", formulas.relu6, formulas.relu6_derivative, None, (0.0, 6.0)),
    selu(),
    Nonlinearity("gelu", formulas.gelu, formulas.gelu_derivative, formulas.gelu_second),
    Nonlinearity("silu", formulas.silu, formulas.silu_derivative, formulas.silu_second),
    Nonlinearity("hard-swish", formulas.hard_swish, formulas.hard_swish_derivative, None, (-3.0, 3.0)),
    Nonlinearity("mish", formulas.mish, formulas.mish_derivative, formulas.mish_second),
    Nonlinearity("softplus", formulas.softplus, special.expit, formulas.sigmoid_derivative),
    Nonlinearity("erf", special.erf, formulas.erf_derivative, formulas.erf_second),
)
WITH_SETTINGS = (("leaky-relu", "slope", leaky_relu), ("elu", "alpha", elu))
ALIASES = (("identity", "linear"), ("swish", "silu"))


def names() -> tuple[str, ...]:
    """The names of the catalogue, in alphabetical order."""
    return tuple(sorted([entry.name for entry in FIXED] + [name for name, _, _ in WITH_SETTINGS]))


def find(name: str, **settings: float) -> Nonlinearity | None:
    """The activation of that name, or None where the catalogue has none: leaky-relu takes `slope`, elu `alpha`, the others nothing.

    Case, hyphens and underscores do not matter, so PyTorch's names of functions and classes will do. Raises UsageError for a
    setting that the activation does not have.
    """
    wanted = dict(ALIASES).get(_bare(name), _bare(name))
    for known, setting, build in WITH_SETTINGS:
        if _bare(known) == wanted:
            _refuse_settings(known, settings, allowed=(setting,))
            return build(**settings)
    for entry in FIXED:
        if _bare(entry.name) == wanted:
            _refuse_settings(entry.name, settings, allowed=())
            return entry
    return None


def nonlinearity(name: str, **settings: float) -> Nonlinearity:
    """The activation of that name, as `find` has it. Raises UsageError where there is none, with the nearest name."""
    found = find(name, **settings)
    if found is not None:
        return found
    nearest = difflib.get_close_matches(name.lower().replace("_", "-"), names(), n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise UsageError(f"no activation is called {name!r}; {hint}the catalogue has {', '.join(names())}")


def _bare(name: str) -> str:
    """The name without what people write differently."""
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def _refuse_settings(name: str, settings: dict[str, float], *, allowed: tuple[str, ...]) -> None:
    """Raises UsageError where a setting is not among the allowed ones or is not a finite number."""
    for setting, value in settings.items():
        if setting not in allowed:
            choice = f"it takes {', '.join(allowed)}" if allowed else "it takes none"
            raise UsageError(f"the activation {name!r} has no setting {setting!r}; {choice}")
        if not np.isfinite(value):
            raise UsageError(f"the setting {setting!r} of the activation {name!r} is {value}; give a finite number")


def smooth(entry: Nonlinearity) -> Function:
    """The second derivative of an activation. Raises UsageError where its slope jumps, so that there is none."""
    if entry.second is None:
        raise UsageError(
            f"the slope of {entry.name!r} jumps, so it has no second derivative; take a smooth one such as tanh or gelu"
        )
    return entry.second
