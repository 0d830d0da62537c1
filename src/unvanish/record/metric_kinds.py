"""The kinds of metrics that programs report: the words for each, the direction in which it improves, and whether it is bounded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

_SEPARATORS = re.compile(r"[\s_\-/.]+")


@dataclass(frozen=True, slots=True)
class MetricKind:
    """One kind of metric, such as accuracy.

    Arguments:
        name: its normalised name.
        pattern: regular expression of the words that people use for it.
        higher_is_better: the direction of improvement.
        needs_split: without "val" or "test" beside it, it is about the training data.
        loss_like: it may be the objective that is minimised.
        bounded: a share, between 0 and 1, or 0 and 100.
        in_percent: people quote it in per cent.
        of_no_split: it is measured on no split of the data, as an agent's return is; nothing makes it a figure of the training.
    """

    name: str
    pattern: str
    higher_is_better: bool = True
    needs_split: bool = False
    loss_like: bool = False
    bounded: bool = False
    in_percent: bool = False
    of_no_split: bool = False

    def find(self, words: str) -> Iterator[re.Match[str]]:
        """The places in normalised words, which single spaces separate, where people's words for it stand."""
        return _whole_words(self.pattern).finditer(words)


@cache
def _whole_words(pattern: str) -> re.Pattern[str]:
    """A pattern that matches whole words alone; compiled once, since every line that a script prints is searched."""
    return re.compile(rf"(?<!\S)(?:{pattern})(?!\S)")


_AT_K = r"(?: ?(?:@|at) ?\d+(?:\.\d+)?)"  # of "recall@5" and "recall_at_5"
_AVERAGED = r"(?:mean|avg|average|ep|episode|episodic|rollout|undiscounted|cumulative|total)"
_ACCURACY = r"acc(?:uracy)?(?:@1|1)?|acc(?:uracy)? top ?1|top ?1(?: acc(?:uracy)?)?"

# In order of preference where a script reports several.
METRIC_KINDS: tuple[MetricKind, ...] = (
    MetricKind("balanced_accuracy", r"bal(?:anced)? acc(?:uracy)?|bacc", bounded=True, in_percent=True),
    MetricKind("accuracy", _ACCURACY, bounded=True, in_percent=True),
    MetricKind("exact_match", r"exact match", bounded=True, in_percent=True),
    MetricKind("f1", r"f1|f ?score|f1 ?score|f measure", bounded=True, in_percent=True),
    MetricKind("auc", r"(?:roc |pr )?au(?:c|roc|prc)(?: roc)?", bounded=True),
    MetricKind("r2", r"r2|r²|r\^2|r squared"),
    MetricKind("iou", r"m ?iou|mean iou|iou|jaccard", bounded=True),
    MetricKind("dice", r"dice(?: coefficient| coeff?)?", bounded=True),
    MetricKind(
        "map",
        rf"map(?:{_AT_K}|50|75)?(?: (?:0\.)?95)?|(?:mean )?average precision{_AT_K}?",
        needs_split=True,
        bounded=True,
    ),
    MetricKind("mcc", r"mcc|matthews(?: corrcoef)?", bounded=True),
    MetricKind("kappa", r"kappa|cohen s? ?kappa|qwk"),
    MetricKind("precision", rf"prec(?:ision)?{_AT_K}?", bounded=True, in_percent=True),
    MetricKind("recall", r"recall|sensitivity", bounded=True, in_percent=True),
    MetricKind("recall_at_k", rf"recall{_AT_K}|hits?{_AT_K}|hit rate{_AT_K}?", bounded=True, in_percent=True, of_no_split=True),
    MetricKind("specificity", r"specificity", bounded=True),
    MetricKind("ndcg", rf"ndcg{_AT_K}?", bounded=True),
    MetricKind("mrr", rf"mrr{_AT_K}?|mean reciprocal rank{_AT_K}?", bounded=True),
    MetricKind("bleu", r"(?:sacre)?bleu"),
    MetricKind("rouge", r"rouge(?: ?[12l](?:sum)?)?"),
    MetricKind("correlation", r"(?:pearson|spearman)r?(?: corr(?:elation)?)?|corr(?:elation)?|c index|concordance"),
    MetricKind("chrf", r"chrf(?:\+\+)?"),
    MetricKind("meteor", r"meteor"),
    MetricKind("cider", r"cider"),
    MetricKind("nmi", r"(?:nmi|ari|silhouette)(?: score)?"),
    MetricKind("success_rate", r"(?:success|win|solve|completion) ?rate", bounded=True, in_percent=True, of_no_split=True),
    MetricKind(
        "reward", rf"(?:{_AVERAGED} )*(?:rew(?:ard)?s?|return)(?: (?:mean|avg))?|(?:{_AVERAGED} )+returns", of_no_split=True
    ),
    MetricKind("psnr", r"psnrs?"),
    MetricKind("ssim", r"ssim"),
    MetricKind("top5_accuracy", r"top ?5(?: acc(?:uracy)?)?|acc(?:uracy)?(?: top ?5|@5|5)", bounded=True, in_percent=True),
    MetricKind("perplexity", r"perplexity|ppl", higher_is_better=False, loss_like=True),
    MetricKind("bits", r"bp[bcd]|bits per (?:byte|char(?:acter)?|dim)", higher_is_better=False, loss_like=True),
    MetricKind("wer", r"wer|word error rate", higher_is_better=False),
    MetricKind("cer", r"cer|character error rate", higher_is_better=False),
    MetricKind("ter", r"ter|translation edit rate", higher_is_better=False),
    MetricKind("eer", r"eer|equal error rate", higher_is_better=False, bounded=True),
    MetricKind("calibration_error", r"ece|calibration error", higher_is_better=False, bounded=True),
    MetricKind("brier", r"brier(?: score)?", higher_is_better=False),
    MetricKind("lpips", r"lpips", higher_is_better=False),
    MetricKind("crps", r"crps", higher_is_better=False),
    MetricKind(
        "relative_error",
        r"rel(?:ative)?(?: (?:l[12]|mean|max))? err(?:or)?|rel(?:ative)? l[12]|l[12] rel(?:ative)? err(?:or)?",
        higher_is_better=False,
        loss_like=True,
        of_no_split=True,
    ),
    MetricKind("fid", r"fid", higher_is_better=False),
    MetricKind("rmse", r"n?rmse|rmsle|root mean squared? error", higher_is_better=False, loss_like=True),
    MetricKind("mse", r"n?mse(?: loss)?|mean squared? error", higher_is_better=False, loss_like=True),
    MetricKind("mae", r"mae|mean absolute error", higher_is_better=False, loss_like=True),
    MetricKind("mape", r"mape", higher_is_better=False, loss_like=True),
    MetricKind("smape", r"smape", higher_is_better=False, loss_like=True),
    MetricKind("distance", r"distance|divergence|kld?", higher_is_better=False, needs_split=True),
    MetricKind("error", r"err(?:or)?(?: rate)?", higher_is_better=False, needs_split=True),
    MetricKind("loss", r"loss|nll|cross entropy|bce|elbo loss", higher_is_better=False, needs_split=True, loss_like=True),
)


@lru_cache(maxsize=1024)
def is_quoted_in_percent(name: str) -> bool:
    """Whether a metric of that name is a share that people quote in per cent.

    Example:
        >>> is_quoted_in_percent("val_accuracy"), is_quoted_in_percent("recall_at_1"), is_quoted_in_percent("val_auc")
        (True, True, False)
    """
    words = " ".join(_SEPARATORS.split(name.lower()))
    matches = [(m.end(), m.end() - m.start(), kind) for kind in METRIC_KINDS for m in kind.find(words)]
    return bool(matches) and max(matches, key=lambda entry: entry[:2])[2].in_percent
