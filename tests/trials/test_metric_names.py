"""Names of metrics: which may decide a race, which comes first, and whether higher is better."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.trials.metrics.metric_names import (
    METRIC_KINDS,
    MetricKind,
    higher_is_better,
    improves_upwards,
    is_held_out_metric,
    may_contain_metric,
    parse_metric,
    preference_key,
)

SPELLINGS = {
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
    "recall_at_1": "recall_at_k",
    "eval_recall@10": "val_recall_at_k",
    "mean_reward": "reward",
    "charts/episodic_return": "reward",
    "rollout/ep_rew_mean": "reward",
    "eval/mean_reward": "val_reward",
    "relative_error": "relative_error",
    "rel_l2_error": "relative_error",
    "success_rate": "success_rate",
    "val_bleu": "val_bleu",
    "mrr@10": "mrr",
    "val_wer": "val_wer",
    "hparam/accuracy": "accuracy",
}
NOT_HELD_OUT = (
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


@pytest.mark.parametrize(("name", "normalised"), SPELLINGS.items(), ids=SPELLINGS.keys())
def test_every_spelling_of_a_metric_has_the_same_normalised_name(name: str, normalised: str) -> None:
    metric = parse_metric(name)
    assert metric is not None
    assert metric.name == normalised
    assert is_held_out_metric(name)


@pytest.mark.parametrize("name", NOT_HELD_OUT)
def test_a_training_metric_and_a_name_that_is_no_metric_decide_no_race(name: str) -> None:
    assert not is_held_out_metric(name)


def test_whether_higher_is_better_follows_from_the_words_of_the_name() -> None:
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


def test_metrics_with_a_held_out_split_come_first_and_validation_accuracy_before_all() -> None:
    ranked = [
        *("val_accuracy", "test_accuracy", "best_val_accuracy", "val_f1", "val_loss", "val_box_loss", "test_loss"),
        *("accuracy", "f1", "rmse", "custom"),
    ]
    assert sorted(sorted(ranked), key=preference_key) == ranked


@pytest.mark.parametrize("kind", METRIC_KINDS, ids=lambda kind: kind.name)
def test_every_spelling_of_a_kind_passes_the_quick_test_and_is_parsed(kind: MetricKind) -> None:
    @settings(max_examples=30, deadline=None, database=None)
    @given(st.from_regex(kind.pattern, fullmatch=True, alphabet="abcdefghijklmnopqrstuvwxyz 0123456789@.:^²"))
    def check(words: str) -> None:
        assert may_contain_metric(f"val {words} 0.5", "")
        metric = parse_metric(f"val {words}")
        assert metric is not None
        assert metric.split == "val"
        assert metric.kind.higher_is_better == kind.higher_is_better

    check()


@pytest.mark.parametrize(
    ("name", "upwards"),
    [
        ("episodic_return", True),
        ("ep_rew_mean", True),
        ("recall_at_1", True),
        ("val_bleu", True),
        ("mrr", True),
        ("my_score", True),
        ("relative_error", False),
        ("wer", False),
        ("perplexity", False),
        ("my_loss", False),
        ("my_figure", None),
    ],
)
def test_the_direction_of_a_metric_is_known_or_said_to_be_unknown(name: str, upwards: bool | None) -> None:
    assert improves_upwards(name) is upwards
    assert higher_is_better(name) is (upwards is not False)
