"""What scripts print about their quality is read; what they print about other things is not."""

from __future__ import annotations

from unittest.mock import ANY

import pytest
from printings import NOT_READ, READ

from unvanish.trials.metrics.printed_metrics import OutputReader, printed_metrics, printed_series
from unvanish.trials.metrics.printed_output import LONGEST


@pytest.mark.parametrize(("text", "figures"), READ.items(), ids=READ.keys())
def test_figures_of_merit_are_read_as_people_print_them(text: str, figures: dict[str, float]) -> None:
    assert printed_metrics(text) == pytest.approx(figures, nan_ok=True)


@pytest.mark.parametrize("text", NOT_READ, ids=NOT_READ)
def test_what_is_about_the_training_or_no_figure_is_not_read(text: str) -> None:
    assert printed_metrics(text) == {}


def test_a_figure_is_read_among_lines_of_every_other_kind() -> None:
    """One line does not lead another astray, except where the one is a heading."""
    plain = [text for text in NOT_READ if "\n" not in text]
    assert printed_series("\n".join([*plain, "val_acc 0.5", *plain])) == {"val_accuracy": [0.5]}


def test_a_long_line_takes_no_time_that_a_training_would_feel() -> None:
    """Of all that may be looked at in one line: no pattern runs away on it."""
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
        assert printed_metrics((piece * LONGEST)[:LONGEST]) == ANY


def test_the_last_value_of_a_name_counts() -> None:
    assert printed_metrics("val_acc 0.1\nnothing here\nval acc 0.9 (best 0.95)\n") == {"val_accuracy": 0.9}


def test_a_series_has_all_values_of_each_figure_in_their_order() -> None:
    text = "".join(f"epoch {i} | train loss 0.9 | val loss {1 / i} | val acc {i}0%\n" for i in (1, 2, 4)) + "test accuracy: 0.5"
    assert printed_series(text) == {"val_loss": [1.0, 0.5, 0.25], "val_accuracy": [0.1, 0.2, 0.4], "test_accuracy": [0.5]}
    assert printed_series("step 1 loss 0.5\n") == {}


def test_a_reader_knows_headers_and_headings_of_pieces_that_it_has_read() -> None:
    reader = OutputReader()
    assert reader.metrics("epoch   train_loss   val_acc") == {}
    assert reader.metrics("1       0.5          0.7\n2       0.4  0.8\n") == {"val_accuracy": 0.8}
    assert reader.metrics("not a row: 3") == {}
    assert reader.metrics("3       0.5          0.9") == {"val_accuracy": 0.9}
    assert reader.metrics("Test Error:") == {}
    assert reader.series(" Accuracy: 50%\n f1 0.3\n f1 0.4") == {"test_accuracy": [0.5], "test_f1": [0.3, 0.4]}
    assert reader.metrics("accuracy 0.1") == {"accuracy": 0.1}
