"""Metrics on held-out data are read from what scripts print, and nothing else is."""

from __future__ import annotations

from unittest.mock import ANY

import pytest
from printed_examples import NOT_READ, READ

from unvanish.trials.metrics.printed_line import MAX_LINE
from unvanish.trials.metrics.printed_metrics import OutputReader, printed_metrics, printed_series


@pytest.mark.parametrize(("text", "metrics"), READ.items(), ids=READ.keys())
def test_metrics_are_read_as_people_print_them(text: str, metrics: dict[str, float]) -> None:
    assert printed_metrics(text) == pytest.approx(metrics, nan_ok=True)


@pytest.mark.parametrize("text", NOT_READ, ids=NOT_READ)
def test_training_metrics_and_other_text_are_not_read(text: str) -> None:
    assert printed_metrics(text) == {}


def test_a_metric_is_read_among_lines_of_every_other_kind() -> None:
    """No line changes how another is read, unless it is a heading."""
    plain = [text for text in NOT_READ if "\n" not in text]
    assert printed_series("\n".join([*plain, "val_acc 0.5", *plain])) == {"val_accuracy": [0.5]}


def test_no_pattern_is_slow_on_a_long_line() -> None:
    """The longest text that is read of one line takes no noticeable time."""
    for piece in (
        "val 1.0 ",
        "loss val 1.0 ",
        "accuracy on ",
        "top 1 acc ",
        "test_",
        "-",
        "1",
        "mean loss ",
        "acc (test) ",
        "\t",
        "0.9 (",
    ):
        assert printed_metrics((piece * MAX_LINE)[:MAX_LINE]) == ANY


def test_the_last_value_of_a_metric_is_kept() -> None:
    assert printed_metrics("val_acc 0.1\nnothing here\nval acc 0.9 (best 0.95)\n") == {"val_accuracy": 0.9}


def test_a_series_has_all_values_of_each_metric_in_their_order() -> None:
    text = "".join(f"epoch {i} | train loss 0.9 | val loss {1 / i} | val acc {i}0%\n" for i in (1, 2, 4)) + "test accuracy: 0.5"
    assert printed_series(text) == {"val_loss": [1.0, 0.5, 0.25], "val_accuracy": [0.1, 0.2, 0.4], "test_accuracy": [0.5]}
    assert printed_series("step 1 loss 0.5\n") == {}


def test_a_reader_keeps_headers_and_headings_of_earlier_pieces() -> None:
    reader = OutputReader()
    assert reader.metrics("epoch   train_loss   val_acc") == {}
    assert reader.metrics("1       0.5          0.7\n2       0.4  0.8\n") == {"val_accuracy": 0.8}
    assert reader.metrics("not a row: 3") == {}
    assert reader.metrics("3       0.5          0.9") == {"val_accuracy": 0.9}
    assert reader.metrics("Test Error:") == {}
    assert reader.series(" Accuracy: 50%\n f1 0.3\n f1 0.4") == {"test_accuracy": [0.5], "test_f1": [0.3, 0.4]}
    assert reader.metrics("accuracy 0.1") == {"accuracy": 0.1}
