"""How findings say numbers: small and plain. It knows words, not rules."""

from __future__ import annotations

import math
from collections.abc import Sequence

NOT_COUNTED = math.nan
_PARTS = ("all", "a tenth", "a hundredth", "a thousandth", "a ten-thousandth", "a hundred-thousandth", "a millionth")


def part_of(decades: float) -> str:
    """What is left after so many decades are lost (a negative number): "a millionth", "less than a billionth"."""
    if math.isinf(decades):
        return "nothing"
    lost = max(0, round(-decades))
    if lost < len(_PARTS):
        return _PARTS[lost]
    if lost < 9:
        return f"{10 ** (9 - lost)} billionths" if lost < 9 else "a billionth"
    return "a billionth" if lost == 9 else "less than a billionth"


def decades(value: float) -> str:
    """A log10 as a person reads it: "6.1 decades"; "everything" where nothing is left."""
    return "everything" if math.isinf(value) else f"{abs(value):.1f} decades"


def span(names: Sequence[str]) -> str:
    """A run of names in short: "net.0", "net.0 and net.2", "net.0 … net.12"."""
    if len(names) <= 1:
        return "".join(names)
    return f"{names[0]} and {names[1]}" if len(names) == 2 else f"{names[0]} … {names[-1]}"


def first_of(count: int, total: int) -> str:
    """ "The first layer", "The first 7 of 10 layers", "None of the 10 layers" is not for this: `count` is at least one."""
    if count == 1:
        return f"The first of {total} layers" if total > 1 else "The only layer"
    return f"All {total} layers" if count >= total else f"The first {count} of {total} layers"


def percent(share: float) -> str:
    """A share as "78 %"."""
    return f"{100 * share:.0f} %"


def quantity(value: float) -> str:
    """A number of any size with three significant digits: "2.30", "5.2e+06"."""
    return f"{value:.3g}"
