"""The catalogue of activation functions, each with its derivatives and the arguments at which these jump."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy import special

from unvanish.errors import UsageError
from unvanish.theory import activation_formulas
from unvanish.theory.gaussian import Function

SELU_ALPHA = 1.6732632423543772  # Klambauer 2017, arXiv 1706.02515
SELU_SCALE = 1.0507009873554805  # the same
LEAKY_SLOPE = 0.01  # PyTorch's default
ELU_ALPHA = 1.0  # PyTorch's default


@dataclass(frozen=True, slots=True)
class Nonlinearity:
    """An activation phi, elementwise on float64 arrays. Two are equal when name and settings are.

    Arguments:
        name: Its name in the catalogue.
        function: phi.
        derivative: phi'.
        second: phi''; None where phi' jumps, since phi'' then is no function.
        kinks: Arguments at which phi' or phi'' jumps.
        settings: Names and values of its parameters, such as ("slope", 0.01).
    """

    name: str
    function: Function = field(compare=False, repr=False)
    derivative: Function = field(compare=False, repr=False)
    second: Function | None = field(compare=False, repr=False)
    kinks: tuple[float, ...] = ()
    settings: tuple[tuple[str, float], ...] = ()


def leaky_relu(*, slope: float = LEAKY_SLOPE) -> Nonlinearity:
    """The leaky ReLU with that slope below zero."""
    function = partial(activation_formulas.leaky_relu, slope=slope)
    derivative = partial(activation_formulas.leaky_relu_derivative, slope=slope)
    return Nonlinearity("leaky-relu", function, derivative, None, (0.0,), (("slope", slope),))


def elu(*, alpha: float = ELU_ALPHA) -> Nonlinearity:
    """The ELU that tends to -alpha; its slope is continuous for alpha = 1 only."""
    parts = [
        partial(part, alpha=alpha)
        for part in (activation_formulas.elu, activation_formulas.elu_derivative, activation_formulas.elu_second)
    ]
    return Nonlinearity("elu", parts[0], parts[1], parts[2] if alpha == 1.0 else None, (0.0,), (("alpha", alpha),))


def selu() -> Nonlinearity:
    """The SELU (Klambauer 2017, arXiv 1706.02515)."""
    function = partial(activation_formulas.elu, alpha=SELU_ALPHA, scale=SELU_SCALE)
    return Nonlinearity(
        "selu", function, partial(activation_formulas.elu_derivative, alpha=SELU_ALPHA, scale=SELU_SCALE), None, (0.0,)
    )


WITHOUT_SETTINGS = (
    Nonlinearity("linear", activation_formulas.linear, np.ones_like, np.zeros_like),
    Nonlinearity("sigmoid", special.expit, activation_formulas.sigmoid_derivative, activation_formulas.sigmoid_second),
    Nonlinearity("tanh", np.tanh, activation_formulas.tanh_derivative, activation_formulas.tanh_second),
    Nonlinearity("hard-tanh", activation_formulas.hard_tanh, activation_formulas.hard_tanh_derivative, None, (-1.0, 1.0)),
    Nonlinearity("hard-sigmoid", activation_formulas.hard_sigmoid, activation_formulas.hard_sigmoid_derivative, None, (-3.0, 3.0)),
    Nonlinearity(
        "softsign",
        activation_formulas.softsign,
        activation_formulas.softsign_derivative,
        activation_formulas.softsign_second,
        (0.0,),
    ),
    Nonlinearity("relu", activation_formulas.relu, activation_formulas.relu_derivative, None, (0.0,)),
    Nonlinearity("relu6", activation_formulas.relu6, activation_formulas.relu6_derivative, None, (0.0, 6.0)),
    selu(),
    Nonlinearity("gelu", activation_formulas.gelu, activation_formulas.gelu_derivative, activation_formulas.gelu_second),
    Nonlinearity("silu", activation_formulas.silu, activation_formulas.silu_derivative, activation_formulas.silu_second),
    Nonlinearity("hard-swish", activation_formulas.hard_swish, activation_formulas.hard_swish_derivative, None, (-3.0, 3.0)),
    Nonlinearity("mish", activation_formulas.mish, activation_formulas.mish_derivative, activation_formulas.mish_second),
    Nonlinearity("softplus", activation_formulas.softplus, special.expit, activation_formulas.sigmoid_derivative),
    Nonlinearity("erf", special.erf, activation_formulas.erf_derivative, activation_formulas.erf_second),
)
WITH_SETTINGS = (("leaky-relu", "slope", leaky_relu), ("elu", "alpha", elu))
ALIASES = (("identity", "linear"), ("swish", "silu"))


def nonlinearity_names() -> tuple[str, ...]:
    """The names of the catalogue, in alphabetical order."""
    return tuple(sorted([entry.name for entry in WITHOUT_SETTINGS] + [name for name, _, _ in WITH_SETTINGS]))


def find_nonlinearity(name: str, **settings: float) -> Nonlinearity | None:
    """The activation of that name; None where the catalogue has none.

    Arguments:
        name: A name of the catalogue or of a PyTorch function or class; case, hyphens and underscores do not matter.
        **settings: `slope` for leaky-relu, `alpha` for elu; the others have none.

    Raises:
        UsageError: The activation does not have that setting, or its value is not finite.
    """
    wanted = dict(ALIASES).get(_normalise_name(name), _normalise_name(name))
    for known, setting, build in WITH_SETTINGS:
        if _normalise_name(known) == wanted:
            _check_settings(known, settings, allowed=(setting,))
            return build(**settings)
    for entry in WITHOUT_SETTINGS:
        if _normalise_name(entry.name) == wanted:
            _check_settings(entry.name, settings, allowed=())
            return entry
    return None


def nonlinearity(name: str, **settings: float) -> Nonlinearity:
    """The activation of that name, as `find_nonlinearity` returns it. Raises UsageError where there is none, with the nearest name.

    Example:
        >>> nonlinearity("LeakyReLU", slope=0.2).settings
        (('slope', 0.2),)
    """
    entry = find_nonlinearity(name, **settings)
    if entry is not None:
        return entry
    nearest = difflib.get_close_matches(name.lower().replace("_", "-"), nonlinearity_names(), n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise UsageError(f"no activation is called {name!r}; {hint}the catalogue has {', '.join(nonlinearity_names())}")


def _normalise_name(name: str) -> str:
    """The name in lower case without hyphens, underscores and spaces."""
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def _check_settings(name: str, settings: dict[str, float], *, allowed: tuple[str, ...]) -> None:
    """Raises UsageError where a setting is not among the allowed ones or is not a finite number."""
    for setting, value in settings.items():
        if setting not in allowed:
            choice = f"it takes {', '.join(allowed)}" if allowed else "it takes none"
            raise UsageError(f"the activation {name!r} has no setting {setting!r}; {choice}")
        if not np.isfinite(value):
            raise UsageError(f"the setting {setting!r} of the activation {name!r} is {value}; give a finite number")


def second_derivative(entry: Nonlinearity) -> Function:
    """The second derivative of an activation. Raises UsageError where its slope jumps, so that there is none."""
    if entry.second is None:
        raise UsageError(
            f"the slope of {entry.name!r} jumps, so it has no second derivative; take a smooth one such as tanh or gelu"
        )
    return entry.second
