"""Confidences of rules: every one has a reason and a place in the table, and grows between its threshold's value and `sure`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from unvanish.diagnose import confidences, rules
from unvanish.diagnose.confidences import Confidence, ConfidenceRange
from unvanish.diagnose.thresholds import Threshold

TABLE = {name: value for name, value in vars(confidences).items() if isinstance(value, Confidence | ConfidenceRange)}
RULES = sorted(Path(rules.__file__).parent.glob("[!_]*.py"))
CONFIDENCE_POSITION = {"Finding": 2, "Mismatch": 4}  # among the positional arguments


@pytest.mark.parametrize("entry", TABLE.values(), ids=TABLE.keys())
def test_a_confidence_has_a_reason_and_lies_between_one_half_and_one(entry: Confidence | ConfidenceRange) -> None:
    assert entry.reason
    ends = (entry.value,) if isinstance(entry, Confidence) else (entry.least, entry.most)
    assert list(ends) == sorted(ends)
    assert all(0.5 <= end < 1.0 for end in ends)


@pytest.mark.parametrize("module", RULES, ids=lambda path: path.stem)
def test_a_rule_takes_its_confidences_from_the_table(module: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Call)]
    arguments: list[ast.expr] = []
    for call in calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "confidence":
            arguments += [*call.args[1:], *(keyword.value for keyword in call.keywords)]
        elif isinstance(call.func, ast.Name) and (position := CONFIDENCE_POSITION.get(call.func.id)) is not None:
            arguments += call.args[position : position + 1]
    numbers = [node.value for argument in arguments for node in ast.walk(argument) if isinstance(node, ast.Constant)]
    assert [number for number in numbers if isinstance(number, float)] == []


@pytest.mark.parametrize(("value", "expected"), [(1.0, 0.5), (2.0, 0.5), (3.0, 0.7), (4.0, 0.9), (9.0, 0.9), (float("nan"), 0.5)])
def test_confidence_grows_from_the_threshold_to_where_it_is_sure(value: float, expected: float) -> None:
    threshold = Threshold(2.0, "1", "convention", "an example", sure=4.0)
    assert threshold.confidence(value, ConfidenceRange(0.5, 0.9, "an example")) == pytest.approx(expected)


def test_a_threshold_that_is_never_sure_gives_the_least_confidence() -> None:
    assert Threshold(2.0, "1", "convention", "an example").confidence(1e9) == confidences.USUAL.least
