"""Parses a metric's name: which kind of metric it is, on which split of the data, and whether higher is better.

Only words count: a name with a word behind the metric that is not understood ("loss scale", "accuracy target") is no metric."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from unvanish.record.metric_kinds import METRIC_KINDS, MetricKind

Split = Literal["val", "test", "train", ""]


SPLITS: tuple[tuple[Split, str], ...] = (
    ("val", r"val|vali|valid(?:ation|ating)?|validate|dev|eval(?:uat(?:e|ion|ing))?|held ?out|hold ?out|unseen|cv"),
    ("test", r"test(?:ing)?|tst"),
    ("train", r"train(?:ing)?|trn|tr"),
)
SPLIT = "|".join(pattern for _, pattern in SPLITS)
_BEST = re.compile(r"\b(?:best|max|min|highest|lowest)\b")

# Words that may stand behind a metric without changing what it is.
_FILLER = (
    rf"{SPLIT}|epochs?|steps?|mean|avg|average|score|values?|total|overall|best|final|last|current|macro|micro|weighted|ema|so|far"
    r"|is|was|now|at|of|after|percent|pct|rate|set|data(?:set)?|split|images|samples|reached|achieved|obtained"
    r"|(?:improved|increased|decreased|rose|fell|dropped) to|dataloader idx \d+"
)
_PLACE = r"(?:on|of|for|over|in|using|with|from)((?: \S+){1,9})"
_TAIL = re.compile(rf"(?: (?:{_FILLER}))*(?: {_PLACE})?")
# Words behind "on" or "of" that name no split, and no part of the classes: "accuracy of the network", not "accuracy of class 3".
_NEUTRAL_PLACE = re.compile(
    r"(?: (?:the|a|an|our|this|my|all|whole|full|entire|neural|network|net|models?|classifier|ensemble|images?|samples?"
    r"|examples?|data|dataset|set|split|on|of|for|over|in|is|was|\d+))+"
)
# Words that make something else of a metric, wherever they stand.
_NOT_A_METRIC = re.compile(
    r"\b(?:grad|gradients?|target|goal|thresh(?:old)?|chance|random|baseline|expected|majority|previous|prev|old|required|desired|naive"
    r"|dummy|delta|change|improvement|gap|diff(?:erence)?|std|stderr|num(?:ber)?|no|if|when|until|while|want|need|reach|require|stop"
    r"|stopping|above|below|least|than|exceed|class(?:es)?|weights?|human|noise|ratio)\b"
)
_HEADING_WORD = re.compile(
    r"\b(?:set|data|dataset|results?|metrics?|scores?|performance|phase|split|stage|summary|epoch|error|at|on|of|for|the|in|final)\b"
)
_TWO_SPLITS = re.compile(rf"\b(?:{SPLIT}) ?[/&] ?(?:{SPLIT})(?!\w)")
_NEGATED = re.compile(r"\bneg (?:root|mean|median|max|mse|mae|rmse)\b")  # how scikit-learn turns an error into a score
_PER_BATCH = re.compile(r"\b(?:steps?|batch|mini ?batch|running|moving|iter(?:ation)?)\b")
_SPLIT_PATTERN = re.compile("|".join(rf"(?<!\S)(?P<{split}>{pattern})(?!\S)" for split, pattern in SPLITS))
CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z])")
_SEPARATOR = re.compile(r"(?<!\d)[.]|[.](?!\d)|[_\-/:\[\]()|%'\"\s]+")
# A line without any of these pieces has no metric; one that has only pieces of the second kind has none without one of the third.
_SELF_SUFFICIENT = tuple(
    (  # noqa: SIM905  (as a list, every word would take a line)
        "acc match f1 score measure auc auroc auprc r2 r² r^2 squared iou jaccard dice mcc matthews kappa qwk prec recall "
        "sensitivity hit specificity ndcg mrr bleu rouge pearson spearman corr index concordance psnr ssim top perplexity ppl "
        "bp bits wer cer word char fid rms mse mean mae mape chrf meteor cider nmi ari silhouette success win solve completion "
        "rew return ter eer translation equal ece calib brier lpips crps rel"
    ).split()
)
_NEEDING_SPLIT = ("map", "average", "distance", "divergence", "kl", "err", "loss", "nll", "entropy", "bce", "elbo")
_HELD_OUT = ("val", "dev", "eval", "held", "hold", "unseen", "cv", "test", "tst")
LOWER_IS_BETTER = frozenset("loss error err nll ce bce xent divergence kl distance mape eer time latency seconds".split()) | {  # noqa: SIM905
    kind.name for kind in METRIC_KINDS if not kind.higher_is_better
}

HIGHER_IS_BETTER = frozenset("score reward return gain utility quality fitness rate similarity".split()) | {  # noqa: SIM905
    kind.name for kind in METRIC_KINDS if kind.higher_is_better
}


@dataclass(frozen=True, slots=True)
class ParsedMetric:
    """What a metric's name says.

    Arguments:
        kind: the kind of metric.
        split: "val", "test" or "train", "" where the name has none.
        is_best: the best value so far rather than the last one.
        is_per_batch: the value of one training step.
        is_qualified: other words stand before the metric ("start accuracy").
    """

    kind: MetricKind
    split: Split
    is_best: bool = False
    is_per_batch: bool = False
    is_qualified: bool = False

    @property
    def name(self) -> str:
        """The name that all spellings share, such as "val_accuracy"."""
        return "_".join(part for part in ("best" if self.is_best else "", self.split, self.kind.name) if part)

    def with_split(self, split: Split) -> ParsedMetric:
        """The same metric on another split of the data."""
        return self if split == self.split else replace(self, split=split)


def normalise_words(name: str) -> str:
    """The words of a name in lower case, separated by single spaces.

    Example:
        >>> normalise_words("val/topAcc"), normalise_words("val_top_acc")
        ('val top acc', 'val top acc')
    """
    return " ".join(_SEPARATOR.sub(" ", CAMEL.sub(" ", name).lower()).split())


def may_contain_metric(line: str, heading: str) -> bool:
    """Whether a line in lower case under that heading is worth parsing; a cheap test that is false for most of what is printed."""
    if any(piece in line for piece in _SELF_SUFFICIENT):
        return True
    return any(piece in line for piece in _NEEDING_SPLIT) and (bool(heading) or any(piece in line for piece in _HELD_OUT))


@lru_cache(maxsize=4096)
def parse_metric(name: str) -> ParsedMetric | None:
    """What a metric's name says, None where it is no metric of quality; metrics on the training data are parsed too.

    Example:
        >>> parse_metric("Validation Accuracy").name, parse_metric("best/valAcc").name
        ('val_accuracy', 'best_val_accuracy')
        >>> parse_metric("learning_rate") is None
        True
    """
    words = normalise_words(name)
    if _NOT_A_METRIC.search(words) or _TWO_SPLITS.search(name.lower()):
        return None
    matches = [(match.end(), -match.start(), kind) for kind in METRIC_KINDS for match in kind.find(words)]
    for end, start, kind in sorted(matches, key=lambda entry: entry[:2], reverse=True):
        before, after = words[:-start].rstrip() if start else "", words[end:]
        if (tail := _TAIL.fullmatch(after)) is None or not _is_measured_at(tail[1] or "", after):
            continue
        split = _nearest_split(before, after)
        return ParsedMetric(
            kind,
            split,
            is_best=_BEST.search(words) is not None,
            is_per_batch=not split and _PER_BATCH.search(words) is not None,
            is_qualified=bool(before and not _SPLIT_PATTERN.fullmatch(before)),
        )
    return None


def held_out_split(title: str) -> Split:
    """The one split not trained on that a title names among other words, "" where it names none or several.

    Example:
        >>> held_out_split("Results on the test images"), held_out_split("train and test")
        ('test', '')
    """
    splits: set[Split] = {_split_name(match) for match in _SPLIT_PATTERN.finditer(normalise_words(title))}
    return splits.pop() if len(splits) == 1 and "train" not in splits else ""


@lru_cache(maxsize=4096)
def parse_split(words: str) -> Split | None:
    """The split that a heading names, None where it is about something else, or about two splits at once ("train/val").

    Example:
        >>> parse_split("test set"), parse_split("evaluation on the training data"), parse_split("model summary")
        ('test', 'train', None)
    """
    matches = list(_SPLIT_PATTERN.finditer(" ".join(_HEADING_WORD.sub(" ", normalise_words(words)).split())))
    if not matches or _SPLIT_PATTERN.sub("", matches[0].string).strip() or _TWO_SPLITS.search(words.lower()):
        return None
    return _split_name(matches[-1])


def improves_upwards(name: str) -> bool | None:
    """Whether a larger value of a metric is an improvement, by the words of its name; None where they do not say.

    Example:
        >>> improves_upwards("val_acc"), improves_upwards("val_loss"), improves_upwards("my_figure")
        (True, False, None)
    """
    metric, words = parse_metric(name), normalise_words(name)
    if _NEGATED.search(words):
        return True
    if metric is not None:
        return metric.kind.higher_is_better
    return False if LOWER_IS_BETTER & set(words.split()) else True if HIGHER_IS_BETTER & set(words.split()) else None


def higher_is_better(name: str) -> bool:
    """Whether a larger value of a metric is an improvement, by the words of its name; True for a name that says nothing.

    Example:
        >>> higher_is_better("val_acc"), higher_is_better("val_loss"), higher_is_better("my_score")
        (True, False, True)
    """
    return improves_upwards(name) is not False


def is_held_out_metric(name: str) -> bool:
    """Whether a metric's name speaks of quality on data not trained on, so that a race may be decided by it.

    Example:
        >>> is_held_out_metric("val_loss"), is_held_out_metric("accuracy"), is_held_out_metric("train/acc")
        (True, True, False)
    """
    metric = parse_metric(name)
    if metric is None or metric.split == "train":
        return False
    return bool(metric.split) or not (metric.is_per_batch or metric.kind.needs_split)


def preference_key(name: str) -> tuple[bool, int, bool, int, bool, str]:
    """A sort key for names of metrics: the one that decides a race comes first.

    Metrics with a split come before those without, then accuracy before other kinds, a last value before a best one, validation
    before test, a plain name before a longer one.

    Example:
        >>> sorted(["accuracy", "test_loss", "val_acc", "val_loss"], key=preference_key)
        ['val_acc', 'val_loss', 'test_loss', 'accuracy']
    """
    metric = parse_metric(name)
    if metric is None:
        return True, len(METRIC_KINDS), False, len(SPLITS), False, name
    rank = ("val", "test", "", "train").index(metric.split)
    return not metric.split, METRIC_KINDS.index(metric.kind), metric.is_best, rank, metric.is_qualified, name


def _is_measured_at(place: str, after: str) -> bool:
    """Whether the words behind "on" or "of" say where a metric was measured, rather than what else it is a metric of."""
    return (
        not place
        or _SPLIT_PATTERN.search(place) is not None
        or _NEUTRAL_PLACE.fullmatch(place) is not None
        or " on " in f" {after} "
    )


def _nearest_split(before: str, after: str) -> Split:
    """The split named nearest to the metric: the last one before it, otherwise the first one behind it."""
    matches = list(_SPLIT_PATTERN.finditer(before))
    match = matches[-1] if matches else _SPLIT_PATTERN.search(after)
    return _split_name(match) if match else ""


def _split_name(match: re.Match[str]) -> Split:
    return next(split for split, _ in SPLITS if match[split])
