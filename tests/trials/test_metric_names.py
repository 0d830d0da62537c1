"""Names of metrics: which may decide a race, which comes first, and which way is better."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.trials.metrics.metric_names import MERITS, higher_is_better, is_merit, may_speak_of_merit, meaning, preference

MEANT = {
    "val/acc": "val_accuracy",
    "val_acc": "val_accuracy",
    "val.acc": "val_accuracy",
    "valAcc": "val_accuracy",
    "Validation Accuracy": "val_accuracy",
    "eval_accuracy": "val_accuracy",
    "validation/f1": "val_f1",
    "val/f1_macro": "val_f1",
    "test_loss": "test_loss",
    "Accuracy/val": "val_accuracy",
    "Accuracy (test)": "test_accuracy",
    "epoch/val_loss": "val_loss",
    "train/val_loss": "val_loss",
    "val_loss_epoch": "val_loss",
    "validation/validation_loss": "val_loss",
    "val/box_loss": "val_loss",
    "val_loss/dataloader_idx_0": "val_loss",
    "validation cer": "val_cer",
    "test/acc@1": "test_accuracy",
    "val_acc_top5": "val_top5_accuracy",
    "metrics/val/mAP50": "val_map",
    "eval_rougeL": "val_rouge",
    "eval/rouge1": "val_rouge",
    "val_mIoU": "val_iou",
    "valid_balanced_accuracy": "val_balanced_accuracy",
    "dev/perplexity": "val_perplexity",
    "val_energy_distance": "val_distance",
    "best_val_acc": "best_val_accuracy",
    "accuracy": "accuracy",
    "f1": "f1",
    "hparam/accuracy": "accuracy",
}
NO_MERIT = (
    *(
        "train/acc",
        "train_loss",
        "lr",
        "epoch",
        "grad_norm",
        "loss",
        "train_accuracy",
        "learning_rate",
        "grad_scale",
        "Accuracy/train",
    ),
    *(
        "Average fold loss (train)",
        "val/train_acc",
        "training/accuracy",
        "acc_step",
        "batch_accuracy",
        "running_acc",
        "val_acc_std",
    ),
    *(
        "eval_runtime",
        "eval_samples_per_second",
        "eval_steps_per_second",
        "val_loss_weight",
        "loss_scale",
        "grad_acc",
        "val_epochs",
    ),
    *(
        "target_accuracy",
        "accuracy_threshold",
        "val_samples",
        "value_loss",
        "interval",
        "contest",
        "test",
        "val",
        "val_acc_class_3",
    ),
    *("best_epoch", "map", "distance", "train/val loss", "step", "memory", "val_active_units", "error"),
)


@pytest.mark.parametrize(("name", "meant"), MEANT.items(), ids=MEANT.keys())
def test_the_spellings_of_a_figure_are_one(name: str, meant: str | None) -> None:
    found = meaning(name)
    assert (found and found.name) == meant
    assert is_merit(name) == (meant is not None)


@pytest.mark.parametrize("name", NO_MERIT)
def test_what_is_about_the_training_or_no_figure_decides_no_race(name: str) -> None:
    assert not is_merit(name)


def test_the_direction_follows_from_the_words_of_the_name() -> None:
    higher = (
        "val_accuracy",
        "f1",
        "my_score",
        "test_auc",
        "Accuracy/val",
        "val/mAP50",
        "test_r2",
        "neg_mean_squared_error",
        "val_psnr",
    )
    lower = (
        "val_loss",
        "rmse",
        "test_error",
        "val_perplexity",
        "eval/mae",
        "Loss/val",
        "valLoss",
        "val_energy_distance",
        "val/box_loss",
    )
    assert all(map(higher_is_better, higher))
    assert not any(map(higher_is_better, (*lower, "val_nll", "top1_error", "val_dice_loss", "test/fid", "latency", "kl")))


def test_figures_that_name_unseen_data_decide_first_and_accuracy_on_validation_data_before_all() -> None:
    ranked = [
        *("val_accuracy", "test_accuracy", "best_val_accuracy", "val_f1", "val_loss", "val_box_loss", "test_loss"),
        *("accuracy", "f1", "rmse", "custom"),
    ]
    assert sorted(sorted(ranked), key=preference) == ranked


@pytest.mark.parametrize("merit", MERITS, ids=lambda merit: merit.name)
def test_every_spelling_of_a_merit_is_worth_reading_and_understood(merit: object) -> None:
    @settings(max_examples=30, deadline=None, database=None)
    @given(st.from_regex(merit.pattern, fullmatch=True, alphabet="abcdefghijklmnopqrstuvwxyz 0123456789@.:^²"))
    def hold(words: str) -> None:
        assert may_speak_of_merit(f"val {words} 0.5", "")
        found = meaning(f"val {words}")
        assert found is not None
        assert found.split == "val"
        assert found.merit.higher_is_better == merit.higher_is_better

    hold()
