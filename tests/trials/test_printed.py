"""What scripts print about their quality is read; what they print about other things is not."""

from __future__ import annotations

import math

import pytest

from unvanish.trials.overheard import LONGEST
from unvanish.trials.printed import higher_is_better, is_merit, preference, printed_metrics

LINES = {
    "accuracy 0.972": {"accuracy": 0.972},
    "val_acc: 97.5%": {"val_accuracy": 0.975},
    "RESULT metric=val_accuracy value=0.97": {"val_accuracy": 0.97},
    "epoch 3 | loss 0.31 | val_loss 0.35": {"val_loss": 0.35},
    "Test set: Average loss: 0.0272, Accuracy: 9913/10000 (99%)": {"test_loss": 0.0272, "accuracy": 0.9913},
    "Epoch 1: train_loss=1.0 train_acc=0.5 valid_loss=2.0 valid_acc=0.4": {"val_loss": 2.0, "val_accuracy": 0.4},
    "{'val_acc': 0.93, 'val_loss': 0.2}": {"val_accuracy": 0.93, "val_loss": 0.2},
    "Accuracy of the network on the 10000 test images: 54 %": {"test_accuracy": 0.54},
    "accuracy on test set: 0.91": {"test_accuracy": 0.91},
    "accuracy on the training set: 0.91": {},
    "test/f1-score: .8": {"test_f1": 0.8},
    "top-1 acc 75%": {"accuracy": 0.75},
    "R2: 0.8 RMSE: 1e-3": {"r2": 0.8, "rmse": 0.001},
    "roc_auc_score 0.7": {"auc": 0.7},
    "Validation Accuracy = 0.91": {"val_accuracy": 0.91},
    "dev F1 90.5": {"val_f1": 90.5},
    "val_loss: nan": {"val_loss": math.nan},
    "training accuracy: 0.3": {},
    "lr 0.1 error 404": {},
    "version 1.2.3 acc1.2.3": {},
    "loss 0.31": {},
    "inaccuracy 0.3": {},
    "accuracy 0/0": {},
    "loss 0.31 val 0.44": {"val_loss": 0.44},
    "train loss 0.31, val 0.44": {"val_loss": 0.44},
    "loss: 0.31 | val: nan": {"val_loss": math.nan},
    "acc: train 0.9 val 0.8": {"val_accuracy": 0.8},
    "accuracy train 91% test 88%": {"test_accuracy": 0.88},
    "loss train=0.1 val=2e-1 test=.3": {"val_loss": 0.2, "test_loss": 0.3},
    "val_loss 0.3 test 0.2": {"val_loss": 0.3, "test_loss": 0.2},
    "rmse val 1e-3": {"val_rmse": 0.001},
    "loss 0.5 validation -0.25": {"val_loss": -0.25},
    "val 0.44": {},
    "val 0.3 loss 0.2": {},
    "loss 0.3 acc 0.9 val 0.8": {"accuracy": 0.9},
    "loss 0.2 train 0.1": {},
    "loss 0.2 eval 10 steps": {},
    "loss 0.2 test 3": {},
    "accuracy 0.9 test 1/10": {"accuracy": 0.9},
    "loss 0.5 dev 3.1.2": {},
    "loss 0.5 interval 0.3 contest 0.2": {},
}


@pytest.mark.parametrize(("line", "figures"), LINES.items(), ids=LINES.keys())
def test_figures_of_merit_are_read_from_a_line(line: str, figures: dict[str, float]) -> None:
    assert printed_metrics(line) == pytest.approx(figures, nan_ok=True)


def test_a_long_line_takes_no_time_that_a_training_would_feel() -> None:
    """Of all that may be looked at in one line: no pattern runs away on it."""
    for piece in ("val 1.0 ", "loss val 1.0 ", "accuracy on ", "top 1 acc ", "test_", "-", "1", "mean loss "):
        assert isinstance(printed_metrics((piece * LONGEST)[:LONGEST]), dict)


def test_the_last_value_of_a_name_counts() -> None:
    assert printed_metrics("val_acc 0.1\nnothing here\nval acc 0.9 (best 0.95)\n") == {"val_accuracy": 0.9}


def test_the_direction_follows_from_the_words_of_the_name() -> None:
    assert all(map(higher_is_better, ("val_accuracy", "f1", "my_score", "test_auc")))
    assert not any(map(higher_is_better, ("val_loss", "rmse", "test_error", "val_perplexity", "eval/mae")))


def test_only_figures_about_unseen_data_decide_a_race() -> None:
    assert all(map(is_merit, ("val_accuracy", "accuracy", "test_loss", "val/loss", "f1")))
    assert not any(map(is_merit, ("loss", "train_accuracy", "learning_rate", "grad_scale")))


def test_accuracy_on_validation_data_is_preferred() -> None:
    names = ["test_loss", "val_loss", "accuracy", "test_accuracy", "val_accuracy", "f1"]
    assert sorted(names, key=preference) == ["val_accuracy", "test_accuracy", "accuracy", "f1", "val_loss", "test_loss"]
