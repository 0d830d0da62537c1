"""Formats numbers and names for the sentences of findings: "78 %", "6.1 decades", "a millionth", "net.0 … net.12"."""

from __future__ import annotations

import math
from collections.abc import Sequence

NOT_COUNTED = math.nan
BILLION = 9  # decades
SMALL_SHARE = 0.095  # below it a share has one more digit
_MULTIPLES = ("one", "ten", "a hundred", "a thousand", "ten thousand", "a hundred thousand", "a million")
_FRACTIONS = ("all", "a tenth", "a hundredth", "a thousandth", "a ten-thousandth", "a hundred-thousandth", "a millionth")


def format_remainder(decades: float) -> str:
    """What is left after so many decades are lost (a negative number): "a millionth", "less than a billionth"."""
    if math.isinf(decades):
        return "nothing"
    lost = max(0, round(-decades))
    if lost < len(_FRACTIONS):
        return _FRACTIONS[lost]
    if lost < BILLION:
        return f"{10 ** (BILLION - lost)} billionths"
    return "a billionth" if lost == BILLION else "less than a billionth"


def format_multiple(decades: float) -> str:
    """The factor that so many decades (a positive number) amount to: "a thousand times its size", "10^24 times its size"."""
    if math.isinf(decades):
        return "infinity"
    gained = max(0, round(decades))
    return f"{_MULTIPLES[gained]} times its size" if gained < len(_MULTIPLES) else f"10^{gained} times its size"


def format_place(label: str) -> str:
    """The label of a site as a sentence has it: "net.3", and "module 3" where the label is a bare number."""
    return f"module {label}" if label.isdigit() else label


def format_decades(value: float) -> str:
    """A log10 without its sign: "6.1 decades"; "everything" where it is infinite."""
    return "everything" if math.isinf(value) else f"{abs(value):.1f} decades"


def format_names(names: Sequence[str]) -> str:
    """Names in order, in short: "net.0", "net.0 and net.2", "net.0 … net.12"."""
    if len(names) <= 1:
        return "".join(names)
    return f"{names[0]} and {names[1]}" if len(names) == 2 else f"{names[0]} … {names[-1]}"


def format_first_layers_are(count: int, total: int) -> str:
    """The beginning of a sentence about the first `count` (at least one) of `total` layers, up to its verb."""
    return f"{format_first_layers(count, total)} {'are' if count > 1 else 'is'}"


def format_first_layers(count: int, total: int) -> str:
    """The subject of a sentence about the first `count` (at least one) of `total` layers."""
    if count >= total:
        return f"All {total} layers" if total > 1 else "The only layer"
    return f"The first {count} of {total} layers" if count > 1 else f"The first of {total} layers"


def format_count(number: float, noun: str) -> str:
    """A number of things: "1 example", "12 examples"."""
    return f"{number:.0f} {noun}{'' if 0.5 < number < 1.5 else 's'}"


def power_of_ten(decades: float) -> float:
    """The power of ten, between 1e-300 and 1e300, so that it neither overflows nor becomes zero."""
    return 10.0 ** min(max(decades, -300.0), 300.0)


def format_percent(share: float) -> str:
    """A share as "78 %", a small one as "1.1 %"."""
    return f"{100 * share:.{0 if share >= SMALL_SHARE or share <= 0 else 1}f} %"


def format_number(value: float) -> str:
    """A number of any size with three significant digits: "2.30", "5.2e+06"."""
    return f"{value:.3g}"
