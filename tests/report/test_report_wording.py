from __future__ import annotations

import math

import pytest

from unvanish.record.structure import Location
from unvanish.report.wording import numbers, places, plain_words
from unvanish.report.wording.glossary import TERMS
from unvanish.report.wording.underline import Underliner

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
    ("said", "expected"),
    [
        (numbers.figure(0.08123), "0.0812"),
        (numbers.figure(2.3), "2.30"),
        (numbers.figure(0.99999), "1.00"),
        (numbers.figure(12345.6), "12,346"),
        (numbers.figure(1.2e-7), "1.2e-7"),
        (numbers.figure(math.nan), "not a number"),
        (numbers.decades(-6.12), "-6.1"),
        (numbers.decades(0.01), "0.0"),
        (numbers.decades(-0.01), "0.0"),
        (numbers.decades(-math.inf), "-inf"),
        (numbers.percent(0.968), "97 %"),
        (numbers.percent(0.0068), "0.7 %"),
        (numbers.percent(0.0999), "10 %"),
        (numbers.percent(0.0001), "under 0.1 %"),
        (numbers.signed_percent(1.012), "+1 %"),
        (numbers.signed_percent(0.999), "0 %"),
        (numbers.ratio(1.184), "×1.18"),
        (numbers.interval(-0.0204, 0.861), "[-0.02, +0.86]"),
        (numbers.signed(0.003), "+0.003"),
        (numbers.fraction_in_words(-6.1), "a millionth"),
        (numbers.fraction_in_words(-40), "less than a trillionth"),
        (numbers.fraction_in_words(-math.inf), "nothing"),
        (numbers.times(3), "three times"),
        (numbers.times(1), "once"),
        (numbers.speed_in_words(1.02), "at the same speed"),
        (numbers.speed_in_words(1.18), "each step taking 18 % longer"),
        (numbers.speed_in_words(0.8), "each step taking 20 % less time"),
        (numbers.speed_in_words(math.nan), "at a speed that was not measured"),
        (numbers.duration(200), "3 min 20 s"),
        (numbers.plural(1, "step"), "1 step"),
        (numbers.power(-6.9), "1e-7"),
    ],
)
def test_numbers_are_said_in_one_way(said: str, expected: str) -> None:
    assert said == expected


def test_minus_signs_are_typeset_before_numbers_only() -> None:
    assert numbers.typeset("-6.1 in [-1, +1]; he-init, 1e-3, 3-4, 90 %") == "−6.1 in [−1, +1]; he-init, 1e-3, 3-4, 90\u00a0%"


def test_source_lines_are_named_as_the_user_would() -> None:
    assert places.line_of(Location("/home/a/code/examples/net.py", 21), "examples/net.py") == "examples/net.py:21"
    assert places.line_of(Location("/home/a/code/models/mlp.py", 3), "/home/a/code/train.py") == "models/mlp.py:3"
    assert places.line_of(Location("/opt/other/lib/mlp.py", 3), "train.py") == "lib/mlp.py:3"


def test_sites_are_said_in_few_words() -> None:
    assert places.span(("a",)) == "a"
    assert places.span(("a", "b", "c")) == "a … c (3 sites)"
    assert places.shortened("encoder.layers.0.self_attn.out_proj", 20) == "encoder…ttn.out_proj"


@pytest.mark.parametrize("code", DESIGN_CODES)
def test_every_finding_has_words_for_a_layman(code: str) -> None:
    meaning = plain_words.meaning(code)
    assert meaning.endswith(".")
    assert "gradient" not in meaning


def test_codes_of_plugins_are_said_as_they_are() -> None:
    assert plain_words.meaning("their-own") == ""
    assert plain_words.cause("their-own") == "their own"


def test_a_term_is_marked_where_it_first_stands() -> None:
    say = Underliner()
    first, second = say("Gradients fade."), say("The gradient fades in its layer.")
    assert '<span class="term" tabindex="0" aria-describedby="tip-gradient">Gradients<' in first
    assert "tip-gradient" not in second
    assert "tip-layer" in second
    assert [term.key for term in say.seen()] == ["gradient", "layer"]


def test_parts_of_names_are_not_terms() -> None:
    assert "term" not in Underliner()("net.weight, loss-not-decreasing, player, learning-rate-too-low")


def test_marked_text_is_escaped() -> None:
    assert "<b>" not in Underliner()("<b>gradient</b>")


def test_no_term_is_defined_twice() -> None:
    forms = [form.lower() for term in TERMS for form in term.forms]
    assert len({term.key for term in TERMS}) == len(TERMS)
    assert len(set(forms)) >= len(forms) - 2  # ReLU and BatchNorm are listed in both spellings
