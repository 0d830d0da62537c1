"""Numbers, places, plain explanations and glossary terms as people read them."""

from __future__ import annotations

import math

import pytest

from unvanish.record.structure import Location
from unvanish.report.wording import finding_descriptions, locations, numbers
from unvanish.report.wording.glossary import TERMS
from unvanish.report.wording.term_marker import TermMarker

DESIGN_CODES = [
    "vanishing-gradient",
    "exploding-gradient",
    "vanishing-through-time",
    "exploding-through-time",
    "shattered-gradient",
    "gradient-underflow",
    "gradient-noise",
    "disconnected-parameter",
    "non-finite",
    "stale-gradient",
    "saturated-activation",
    "dead-units",
    "representation-collapse",
    "output-mismatch",
    "symmetric-init",
    "off-critical-init",
    "learning-rate-too-high",
    "learning-rate-too-low",
    "optimizer-epsilon",
    "clipping-dominates",
    "weight-decay-dominates",
    "loss-not-decreasing",
    "unscaled-input",
    "degenerate-labels",
    "batch-too-small",
    "running-stats-drift",
    "underfitting",
    "overfitting",
    "attention-collapse",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (numbers.format_number(0.08123), "0.0812"),
        (numbers.format_number(2.3), "2.30"),
        (numbers.format_number(0.99999), "1.00"),
        (numbers.format_number(12345.6), "12,346"),
        (numbers.format_number(1.2e-7), "1.2e-7"),
        (numbers.format_number(math.nan), "not a number"),
        (numbers.format_decades(-6.12), "-6.1"),
        (numbers.format_decades(0.01), "0.0"),
        (numbers.format_decades(-0.01), "0.0"),
        (numbers.format_decades(-math.inf), "-inf"),
        (numbers.format_percent(0.968), "97 %"),
        (numbers.format_percent(0.0068), "0.7 %"),
        (numbers.format_percent(0.0999), "10 %"),
        (numbers.format_percent(0.0001), "under 0.1 %"),
        (numbers.format_percent_change(1.012), "+1 %"),
        (numbers.format_percent_change(0.999), "0 %"),
        (numbers.format_ratio(1.184), "×1.18"),
        (numbers.format_interval(-0.0204, 0.861), "[-0.02, +0.86]"),
        (numbers.format_signed(0.003), "+0.003"),
        (numbers.describe_fraction(-6.1), "a millionth"),
        (numbers.describe_fraction(-40), "less than a trillionth"),
        (numbers.describe_fraction(-math.inf), "nothing"),
        (numbers.spell_times(3), "three times"),
        (numbers.spell_times(1), "once"),
        (numbers.describe_speed(1.02), "at the same speed"),
        (numbers.describe_speed(1.18), "each step taking 18 % longer"),
        (numbers.describe_speed(0.8), "each step taking 20 % less time"),
        (numbers.describe_speed(math.nan), "at a speed that was not measured"),
        (numbers.format_duration(200), "3 min 20 s"),
        (numbers.pluralise(1, "step"), "1 step"),
        (numbers.format_power_of_ten(-6.9), "1e-7"),
    ],
)
def test_numbers_are_formatted(text: str, expected: str) -> None:
    assert text == expected


def test_minus_signs_are_typeset_before_numbers_only() -> None:
    assert numbers.typeset("-6.1 in [-1, +1]; he-init, 1e-3, 3-4, 90 %") == "−6.1 in [−1, +1]; he-init, 1e-3, 3-4, 90\u00a0%"


def test_source_lines_are_relative_to_the_script() -> None:
    assert locations.format_source_line(Location("/home/a/code/examples/net.py", 21), "examples/net.py") == "examples/net.py:21"
    assert locations.format_source_line(Location("/home/a/code/models/mlp.py", 3), "/home/a/code/train.py") == "models/mlp.py:3"
    assert locations.format_source_line(Location("/opt/other/lib/mlp.py", 3), "train.py") == "lib/mlp.py:3"


def test_sites_and_labels_are_shortened() -> None:
    assert locations.format_sites(("a",)) == "a"
    assert locations.format_sites(("a", "b", "c")) == "a … c (3 sites)"
    assert locations.shorten_label("encoder.layers.0.self_attn.out_proj", 20) == "encoder…ttn.out_proj"


@pytest.mark.parametrize("code", DESIGN_CODES)
def test_every_finding_has_a_description_without_technical_terms(code: str) -> None:
    meaning = finding_descriptions.describe_finding(code)
    assert meaning.endswith(".")
    assert "gradient" not in meaning


def test_codes_of_plugins_have_no_description_of_their_own() -> None:
    assert finding_descriptions.describe_finding("their-own") == ""
    assert finding_descriptions.describe_cause("their-own") == "their own"


def test_a_term_is_marked_at_its_first_occurrence() -> None:
    terms = TermMarker()
    first, second = terms.mark("Gradients fade."), terms.mark("The gradient fades in its layer.")
    assert '<span class="term" tabindex="0" aria-describedby="tip-gradient">Gradients<' in first
    assert "tip-gradient" not in second
    assert "tip-layer" in second
    assert [term.key for term in terms.marked_terms()] == ["gradient", "layer"]


def test_parts_of_names_are_not_terms() -> None:
    assert "term" not in TermMarker().mark("net.weight, loss-not-decreasing, player, learning-rate-too-low")


def test_marked_text_is_escaped() -> None:
    assert "<b>" not in TermMarker().mark("<b>gradient</b>")


def test_no_term_is_defined_twice() -> None:
    forms = [form.lower() for term in TERMS for form in term.forms]
    assert len({term.key for term in TERMS}) == len(TERMS)
    assert len(set(forms)) >= len(forms) - 2  # ReLU and BatchNorm are listed in both spellings
