"""What most rows share: a classifier of handwritten digits, and its twin of ten sigmoids."""

from __future__ import annotations

from typing import Any

from compatibility.row import Figure, Replacement, Row, Twin

VANISHING = frozenset({"vanishing-gradient", "saturating-activation"})
RATE_TOO_HIGH = frozenset({"learning-rate-too-high", "rate-schedule"})
ACCURACY = Figure("val_accuracy", 0.2)


def deep_sigmoid(file: str = "model.py", depth: str = "depth=3", deeper: str = "depth=10") -> Twin:
    """The twin with ten sigmoids in place of a few rectifiers."""
    return Twin((Replacement(file, depth, deeper), Replacement(file, "nn.ReLU()", "nn.Sigmoid()")), VANISHING)


DEEP_SIGMOID = deep_sigmoid()


def digits_row(name: str, group: str, title: str, program: str, **fields: Any) -> Row:
    """A row of the classifier, sick with ten sigmoids and judged by its accuracy where `fields` do not say otherwise."""
    return Row(name, group, title, program, **{"twin": DEEP_SIGMOID, "figure": ACCURACY, **fields})
