"""Formats numbers as text: significant digits, decades, percentages, ratios, intervals, counts and durations."""

from __future__ import annotations

import math
import re

from unvanish.record.races.verdict import EQUAL_TIME_RATIO

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
_COUNT_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MINUS_BEFORE_NUMBER = re.compile(r"(?<![\w.)\]-])-(?=\d|inf)")
ROUNDING_TOLERANCE = 1e-12  # relative deviation of equal values after summing them


def format_number(value: float, digits: int = 3) -> str:
    """The value with that many significant digits, in scientific notation below 1e-4 and from 1e6 on.

    Example:
        >>> [format_number(value) for value in (0.08123, 2.3, 12345.6, 1.2e-7, float("nan"))]
        ['0.0812', '2.30', '12,346', '1.2e-7', 'not a number']
    """
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


def format_deviation(value: float, deviation: float) -> str:
    """A standard deviation about `value` with one significant digit; "0" where it is only the rounding of equal values."""
    return "0" if deviation <= ROUNDING_TOLERANCE * max(1.0, abs(value)) else format_number(deviation, 1)


def format_mean_and_deviation(mean: float, deviation: float) -> str:
    """A mean and its standard deviation, with as many decimals as the deviation has, and at least two significant digits.

    Example:
        >>> format_mean_and_deviation(0.0812, 0.0041)
        '0.081 ± 0.004'
    """
    deviation_text = format_deviation(mean, deviation)
    if deviation_text == "0" or not 1e-4 <= abs(mean) < 1e6:
        return f"{format_number(mean)} ± {deviation_text}"
    if deviation < 1e-4:
        return f"{format_number(mean)} ± {f'{deviation:.0e}'.replace('e-0', 'e-')}"
    exponent = int(f"{mean:.1e}".split("e")[1])
    places = max(len(deviation_text) - 2, 1 - exponent, 0)  # as many decimals as the deviation has
    return f"{mean:,.{places}f} ± {deviation_text}"


def format_decades(value: float, *, signed: bool = True) -> str:
    """A logarithm to base ten with one decimal, with its sign unless `signed` is False; minus infinity is "-inf".

    Example:
        >>> [format_decades(value) for value in (-6.12, 3.0, 0.01, float("-inf"))]
        ['-6.1', '+3.0', '0.0', '-inf']
    """
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "inf" if value > 0 or not signed else "-inf"
    size = f"{abs(value):.1f}"
    return f"-{size}" if signed and value < 0 and float(size) else f"+{size}" if signed and float(size) else size


def format_power_of_ten(log10: float) -> str:
    """The power of ten nearest to a logarithm to base ten: "1e-7" for -6.9, "0" for minus infinity."""
    if math.isnan(log10):
        return "not measured"
    if math.isinf(log10):
        return "0" if log10 < 0 else "infinite"
    return f"1e{round(log10)}"


def format_percent(share: float) -> str:
    """A share of one as a percentage: "97 %", "0.7 %", "under 0.1 %"."""
    if not math.isfinite(share):
        return format_number(share)
    hundred = share * 100
    if 0 < abs(hundred) < 0.05:
        return "under 0.1 %"
    if abs(hundred) >= 9.95 or hundred == 0:
        return f"{hundred:.0f} %"
    return f"{hundred:.1f} %"


def format_percent_change(ratio: float) -> str:
    """A ratio as a change in per cent: "+1 %" for 1.01, "0 %" for 1."""
    if not math.isfinite(ratio):
        return "not measured"
    change = round((ratio - 1) * 100)
    return f"{change:+d} %" if change else "0 %"


def format_ratio(value: float) -> str:
    """A factor with two decimals: "×1.18"; "not measured" for NaN and infinities."""
    return f"×{value:.2f}" if math.isfinite(value) else "not measured"


def format_signed(value: float) -> str:
    """A difference with its sign and two or three digits: "+0.87", "-0.012"."""
    if not math.isfinite(value):
        return format_number(value)
    if abs(value) < 0.005:
        return f"{value:+.1g}" if value else "0"
    return f"{value:+.2f}" if abs(value) < 100 else f"{value:+,.0f}"


def format_interval(low: float, high: float) -> str:
    """A confidence interval: "[+0.86, +0.88]"."""
    return f"[{format_signed(low)}, {format_signed(high)}]"


def format_count(number: int) -> str:
    """A whole number with thousands separators: "12,345"."""
    return f"{number:,}"


def pluralise(number: int, noun: str) -> str:
    """The count and its noun, with an "s" unless the count is one: "1 step", "300 steps"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def spell_count(number: int) -> str:
    """A count up to twelve as a word, a larger one in digits: "three", "40"."""
    return _COUNT_WORDS[number] if 0 <= number < len(_COUNT_WORDS) else format_count(number)


def spell_times(number: int) -> str:
    """A number of times in words: "once", "twice", "three times"."""
    return {1: "once", 2: "twice"}.get(number, f"{spell_count(number)} times")


def describe_fraction(log10: float) -> str:
    """A fraction in words, from its logarithm to base ten: "a millionth" for -6.1, "nothing" for minus infinity."""
    if log10 == -math.inf:
        return "nothing"
    exponent = round(-log10)
    return _FRACTIONS[max(exponent, 0)] if exponent < len(_FRACTIONS) else "less than a trillionth"


def describe_multiple(log10: float) -> str:
    """A multiple in words, from its logarithm to base ten: "a thousand times" for 3.1."""
    exponent = max(round(log10), 0) if math.isfinite(log10) else len(_MULTIPLES)
    return _MULTIPLES[exponent] if exponent < len(_MULTIPLES) else "more than a million times"


def describe_speed(step_time: float) -> str:
    """A time per step as a multiple of the control's, in words: "at the same speed", "each step taking 18 % longer"."""
    if not math.isfinite(step_time) or step_time <= 0:
        return "at a speed that was not measured"
    if abs(step_time - 1) <= EQUAL_TIME_RATIO - 1:
        return "at the same speed"
    if step_time > 2:
        return f"each step taking {step_time:.1f} times as long"
    return f"each step taking {abs(step_time - 1):.0%}".replace("%", " %") + (" longer" if step_time > 1 else " less time")


def format_duration(seconds: float) -> str:
    """A length of time: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"


def typeset(text: str) -> str:
    """The text with typographic minus signs and no line break before "%": for HTML; terminal text keeps what can be copied."""
    return _MINUS_BEFORE_NUMBER.sub("\u2212", text).replace(" %", "\u00a0%")
