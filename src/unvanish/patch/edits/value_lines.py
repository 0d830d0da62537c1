"""Writes the new values of a module's parameters as lines of `torch.nn.init`, with MODULE in the place of the module."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unvanish.patch.text_replacements import NotExpressible
from unvanish.record.initial_values import InitialValues, Law

MODULE = "<module>"
"""What stands for the module in the lines."""

_GATE_LAWS = frozenset({Law.FORGET_GATE, Law.CHRONO, Law.SPREAD_MEMORY, Law.ZERO_FORGET_GATE, Law.ZERO_INPUT_AND_FORGET_GATES})
_CLOSE = 1e-6  # relative; scales come as float64
_KAIMING = {math.sqrt(2.0): 'nonlinearity="relu"', 1.0: 'nonlinearity="linear"'}


@dataclass(frozen=True, slots=True)
class ValueLines:
    """Lines that set the parameters of a module, in which MODULE stands for it.

    `needs_no_grad` says that they have to stand under `torch.no_grad()`, which the functions of torch.nn.init do not need. `own`
    are the lines where the module stands alone, if those differ from what it shares with others in a loop.
    """

    lines: tuple[str, ...]
    needs_no_grad: bool = False
    own: tuple[str, ...] = field(default=(), compare=False)

    @property
    def own_lines(self) -> tuple[str, ...]:
        """The lines where no other module shares them."""
        return self.own or self.lines


def about(lines: Sequence[str], module: str) -> list[str]:
    """Lines with the code of a module in the place of MODULE."""
    return [line.replace(MODULE, module) for line in lines]


def value_lines(values: Sequence[InitialValues], *, init: str, torch: str) -> ValueLines:
    """The lines for the values of one module's own parameters.

    Arguments:
        values: the new values, at least one.
        init: the code that names torch.nn.init, such as "nn.init".
        torch: the code that names torch.

    Raises:
        NotExpressible: torch.nn.init has no words for it.

    Example:
        >>> weight = InitialValues("fc.weight", (16, 8), Law.NORMAL, scale=0.5)
        >>> value_lines([weight], init="nn.init", torch="torch").lines
        ('nn.init.kaiming_normal_(<module>.weight, nonlinearity="relu")',)
    """
    by_name = {each.parameter.rpartition(".")[2]: each for each in values}
    gates = {name: each for name, each in by_name.items() if each.law in _GATE_LAWS}
    if gates:
        return ValueLines(tuple(line.replace("torch.", f"{torch}.") for line in _gate_lines(gates)), needs_no_grad=True)
    return ValueLines(tuple(line for name, each in by_name.items() for line in _lines(f"{MODULE}.{name}", each, init)))


def _lines(code: str, values: InitialValues, init: str) -> list[str]:
    match values.law:
        case Law.ZEROS:
            return [f"{init}.zeros_({code})"]
        case Law.IDENTITY:
            return [f"{init}.eye_({code})"]
        case Law.NORMAL:
            return [f"{init}.{_normal(code, values)}"]
        case Law.UNIFORM:
            return [f"{init}.{_uniform(code, values)}"]
        case Law.GLOROT:
            return _by_block(code, values, f"{init}.xavier_uniform_(<block>)")
        case Law.ORTHOGONAL:
            return _by_block(code, values, f"{init}.orthogonal_(<block>{_gain(values.scale, init)})")
        case Law.DELTA_ORTHOGONAL:
            centre = "".join(f", {extent // 2}" for extent in values.shape[2:])
            inner = _by_block(f"{code}[:, :{centre}]", values, f"{init}.orthogonal_(<block>{_gain(values.scale, init)})")
            return [f"{init}.zeros_({code})", *inner]
        case _:
            raise NotExpressible(f"{values.law.value} has no words in torch.nn.init")


def _by_block(code: str, values: InitialValues, statement: str) -> list[str]:
    """A statement about a parameter, or a loop with it about each of the parameter's blocks of rows."""
    if values.blocks == 1:
        return [statement.replace("<block>", code)]
    block = "gate" if "_ih" in code or "_hh" in code else "kernel"
    return [f"for {block} in {code}.chunk({values.blocks}):", f"    {statement.replace('<block>', block)}"]


def _normal(code: str, values: InitialValues) -> str:
    """He's law by its name where the scale is one of it, else the standard deviation."""
    if len(values.shape) >= 2:
        taps = math.prod(values.shape[2:])
        for mode, fan in (("", values.shape[1] * taps), (', mode="fan_out"', values.shape[0] * taps)):
            if (gain := _kaiming_gain(values.scale * math.sqrt(fan))) is not None:
                return f"kaiming_normal_({code}{mode}, {gain})"
    return f"normal_({code}, std={values.scale:.4g})"


def _kaiming_gain(gain: float) -> str | None:
    """The argument with which torch reckons a gain: that of a rectifier, of a leaky one, or of a linear unit."""
    for known, argument in _KAIMING.items():
        if math.isclose(gain, known, rel_tol=_CLOSE):
            return argument
    if not 1.0 < gain < math.sqrt(2.0):
        return None
    slope = float(f"{math.sqrt(2.0 / gain**2 - 1.0):.3g}")
    return f"a={slope:g}" if math.isclose(gain, math.sqrt(2.0 / (1.0 + slope**2)), rel_tol=_CLOSE) else None


def _uniform(code: str, values: InitialValues) -> str:
    """Glorot's law by its name, with a gain where a stride or groups make other fans than torch reckons."""
    if len(values.shape) < 2:
        return f"uniform_({code}, {-values.scale:.4g}, {values.scale:.4g})"
    fans = (values.shape[0] + values.shape[1]) * math.prod(values.shape[2:])
    gain = values.scale / math.sqrt(6.0 / fans)
    return f"xavier_uniform_({code})" if math.isclose(gain, 1.0, rel_tol=_CLOSE) else f"xavier_uniform_({code}, gain={gain:.4g})"


def _gain(factor: float, init: str) -> str:
    """The gain of orthogonal_, which is the factor on a semi-orthogonal matrix; "" where it is one."""
    if math.isclose(factor, 1.0, rel_tol=_CLOSE):
        return ""
    if math.isclose(factor, math.sqrt(2.0), rel_tol=_CLOSE):
        return f', gain={init}.calculate_gain("relu")'
    return f", gain={factor:.4g}"


# Gates of recurrent layers

_ZERO_LAWS = frozenset({Law.ZERO_FORGET_GATE, Law.ZERO_INPUT_AND_FORGET_GATES})
_GATE_NAMES = {4: "input, forget, cell, output", 3: "reset, update, new"}


def _gate_lines(gates: Mapping[str, InitialValues]) -> list[str]:
    """The lines for the biases of gates; of several layers or directions, in one loop over the first and one over the second."""
    lines: list[str] = []
    for is_second, write in ((False, _first_bias), (True, _second_bias)):
        biases = {name: each for name, each in gates.items() if (each.law in _ZERO_LAWS) is is_second}
        codes = [f"{MODULE}.{name}" for name in biases]
        values = next(iter(biases.values()))
        if len(codes) == 1:
            lines += write(codes[0], values)
        else:
            lines += [f"for bias in ({', '.join(codes)}):", *(f"    {line}" for line in write("bias", values))]
    return lines


def _first_bias(code: str, values: InitialValues) -> list[str]:
    lines = [f"gates = {code}.chunk({values.blocks})  # {_GATE_NAMES[values.blocks]}"]
    match values.law:
        case Law.CHRONO:
            lines.append(f"gates[1].uniform_(1, {values.scale - 1:g}).log_()")
        case Law.SPREAD_MEMORY:
            lines.append("gates[1].copy_(torch.linspace(1, 6, len(gates[1])))")
        case _:
            return [*lines, f"gates[1].fill_({values.scale:g})"]
    if values.blocks == 4:
        lines.append("gates[0].copy_(-gates[1])" if values.law is Law.CHRONO else "gates[0].copy_(-gates[1] / 2)")
    return lines


def _second_bias(code: str, values: InitialValues) -> list[str]:
    both = "gates[0].zero_()", "gates[1].zero_()"
    lines = [f"gates = {code}.chunk({values.blocks})  # which torch adds to the other bias"]
    return [*lines, *both] if values.law is Law.ZERO_INPUT_AND_FORGET_GATES else [*lines, both[1]]
