"""Formats of numbers and names in findings."""

from __future__ import annotations

import math

import pytest

from unvanish.diagnose import wording


@pytest.mark.parametrize(
    ("decades", "said"),
    [
        (-0.2, "all"),
        (-3.0, "a thousandth"),
        (-6.1, "a millionth"),
        (-7.0, "100 billionths"),
        (-9.1, "a billionth"),
        (-12.0, "less than a billionth"),
        (-math.inf, "nothing"),
    ],
)
def test_what_is_left_is_formatted_as_a_fraction(decades: float, said: str) -> None:
    assert wording.format_remainder(decades) == said


@pytest.mark.parametrize(
    ("count", "total", "said"),
    [
        (1, 1, "The only layer is"),
        (1, 10, "The first of 10 layers is"),
        (7, 11, "The first 7 of 11 layers are"),
        (5, 5, "All 5 layers are"),
    ],
)
def test_layers_are_counted_with_the_right_verb(count: int, total: int, said: str) -> None:
    assert wording.format_first_layers_are(count, total) == said


@pytest.mark.parametrize(("names", "said"), [((), ""), (("a",), "a"), (("a", "b"), "a and b"), (("a", "b", "c"), "a … c")])
def test_a_sequence_of_names_is_shortened(names: tuple[str, ...], said: str) -> None:
    assert wording.format_names(names) == said
