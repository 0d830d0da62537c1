"""How numbers are said, in one place: decades, shares, ratios, counts, durations. It formats, and never computes a result."""

from __future__ import annotations

import math
import re

_FRACTIONS = (
    "the whole",
    "a tenth",
    "a hundredth",
    "a thousandth",
    "a ten-thousandth",
    "a hundred-thousandth",
    "a millionth",
    "a ten-millionth",
    "a hundred-millionth",
    "a billionth",
    "a ten-billionth",
    "a hundred-billionth",
    "a trillionth",
)
_MULTIPLES = (
    "the same",
    "ten times",
    "a hundred times",
    "a thousand times",
    "ten thousand times",
    "a hundred thousand times",
    "a million times",
)
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MINUS = re.compile(r"(?<![\w.)\]-])-(?=\d|inf)")
ROUNDING = 1e-12  # the spread of equal values after summing them
SAME_SPEED = 0.05  # a difference in time per step that a shared machine cannot tell from none; our choice


def figure(value: float, digits: int = 3) -> str:
    """The value with that many significant digits: "0.0812", "2.30", "1.2e-7"; "not a number" where it is none."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        exponent = int(f"{value:.{digits - 1}e}".split("e")[1])  # of the rounded value: 0.9999 is "1.00"
        places = max(0, digits - 1 - exponent)
        return f"{value:,.{places}f}"
    mantissa, power_of_ten = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(power_of_ten)}"


def spread(value: float, deviation: float) -> str:
    """A deviation with one significant digit; "0" where it is only the rounding of equal values."""
    return "0" if deviation <= ROUNDING * max(1.0, abs(value)) else figure(deviation, 1)


def measured(mean: float, deviation: float) -> str:
    """A mean over seeds, as exact as they agree: "0.081 ± 0.004", "2.303 ± 0.001"; with at least two significant digits."""
    said = spread(mean, deviation)
    if said == "0" or not 1e-4 <= abs(mean) < 1e6:
        return f"{figure(mean)} ± {said}"
    if deviation < 1e-4:
        return f"{figure(mean)} ± {f'{deviation:.0e}'.replace('e-0', 'e-')}"
    exponent = int(f"{mean:.1e}".split("e")[1])
    places = max(len(said) - 2, 1 - exponent, 0)  # as many decimals as the deviation has
    return f"{mean:,.{places}f} ± {said}"


def decades(value: float, *, signed: bool = True) -> str:
    """Powers of ten with one decimal: "-6.1"; an exact zero, whose logarithm is minus infinity, is "-inf"."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "inf" if value > 0 or not signed else "-inf"
    size = f"{abs(value):.1f}"
    return f"-{size}" if signed and value < 0 and float(size) else f"+{size}" if signed and float(size) else size


def power(log10: float) -> str:
    """A power of ten from its logarithm: "1e-7"; "0" for minus infinity."""
    if math.isnan(log10):
        return "not measured"
    if math.isinf(log10):
        return "0" if log10 < 0 else "infinite"
    return f"1e{round(log10)}"


def percent(share: float) -> str:
    """A share of one as per cent: "97 %", "0.7 %", "under 0.1 %"."""
    if not math.isfinite(share):
        return figure(share)
    hundred = share * 100
    if 0 < abs(hundred) < 0.05:
        return "under 0.1 %"
    if abs(hundred) >= 9.95 or hundred == 0:
        return f"{hundred:.0f} %"
    return f"{hundred:.1f} %"


def signed_percent(ratio: float) -> str:
    """A ratio as the change that it makes: 1.01 is "+1 %", 1 is "0 %"."""
    if not math.isfinite(ratio):
        return "not measured"
    change = round((ratio - 1) * 100)
    return f"{change:+d} %" if change else "0 %"


def ratio(value: float) -> str:
    """A factor: "×1.18"; "not measured" where there is none."""
    return f"×{value:.2f}" if math.isfinite(value) else "not measured"


def signed(value: float) -> str:
    """A difference with its sign and two or three digits: "+0.87", "-0.012"."""
    if not math.isfinite(value):
        return figure(value)
    if abs(value) < 0.005:
        return f"{value:+.1g}" if value else "0"
    return f"{value:+.2f}" if abs(value) < 100 else f"{value:+,.0f}"


def interval(low: float, high: float) -> str:
    """A confidence interval: "[+0.86, +0.88]"."""
    return f"[{signed(low)}, {signed(high)}]"


def count(number: int) -> str:
    """A whole number with its thousands apart: "12,345"."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """The count and its noun: "1 step", "300 steps"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def word(number: int) -> str:
    """A small count as a word, a larger one in figures: "three", "40"."""
    return _WORDS[number] if 0 <= number < len(_WORDS) else count(number)


def times(number: int) -> str:
    """How often: "once", "twice", "three times"."""
    return {1: "once", 2: "twice"}.get(number, f"{word(number)} times")


def fraction_in_words(log10: float) -> str:
    """What part is left, in words for a layman: -6.1 is "a millionth". Minus infinity is "nothing"."""
    if log10 == -math.inf:
        return "nothing"
    tens = round(-log10)
    return _FRACTIONS[max(tens, 0)] if tens < len(_FRACTIONS) else "less than a trillionth"


def multiple_in_words(log10: float) -> str:
    """How many times as much, in words for a layman: 3.1 is "a thousand times"."""
    tens = max(round(log10), 0) if math.isfinite(log10) else len(_MULTIPLES)
    return _MULTIPLES[tens] if tens < len(_MULTIPLES) else "more than a million times"


def speed_in_words(step_time: float) -> str:
    """A step's cost against the control's, in words: "at the same speed", "each step taking 18 % longer"."""
    if not math.isfinite(step_time) or step_time <= 0:
        return "at a speed that was not measured"
    if abs(step_time - 1) <= SAME_SPEED:
        return "at the same speed"
    if step_time > 2:
        return f"each step taking {step_time:.1f} times as long"
    return f"each step taking {abs(step_time - 1):.0%}".replace("%", " %") + (" longer" if step_time > 1 else " less time")


def duration(seconds: float) -> str:
    """A length of time: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def typeset(text: str) -> str:
    """The text with true minus signs, and with per cent kept beside its number. For the page; the terminal's can be copied."""
    return _MINUS.sub("\u2212", text).replace(" %", "\u00a0%")
