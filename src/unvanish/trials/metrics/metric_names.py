"""What a metric's name means: which figure of merit, on which part of the data, and which way is better. It guesses nothing beyond
words: a name with a word that is not understood behind the figure ("loss scale", "accuracy target") means no figure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

Split = Literal["val", "test", "train", ""]


@dataclass(frozen=True, slots=True)
class Merit:
    """One kind of figure: its name, the pattern of the words that people use for it, and which way is better.

    `needs_split` is for figures that are about the training data unless "val" or "test" stands beside them; `loss_like` for those
    that may be what is minimised; `bounded` for shares, that lie between 0 and 1, or 0 and 100.
    """

    name: str
    pattern: str
    higher_is_better: bool = True
    needs_split: bool = False
    loss_like: bool = False
    bounded: bool = False


_ACCURACY = r"acc(?:uracy)?(?:@1|1)?|acc(?:uracy)? top ?1|top ?1(?: acc(?:uracy)?)?"

# In order of preference where a script reports several.
MERITS: tuple[Merit, ...] = (
    Merit("balanced_accuracy", r"bal(?:anced)? acc(?:uracy)?|bacc", bounded=True),
    Merit("accuracy", _ACCURACY, bounded=True),
    Merit("exact_match", r"exact match", bounded=True),
    Merit("f1", r"f1|f ?score|f1 ?score|f measure", bounded=True),
    Merit("auc", r"(?:roc |pr )?au(?:c|roc|prc)(?: roc)?", bounded=True),
    Merit("r2", r"r2|r²|r\^2|r squared"),
    Merit("iou", r"m ?iou|mean iou|iou|jaccard", bounded=True),
    Merit("dice", r"dice(?: coefficient| coeff?)?", bounded=True),
    Merit("map", r"map(?:@\d+(?:\.\d+)?|50|75)?(?: (?:0\.)?95)?|(?:mean )?average precision", needs_split=True, bounded=True),
    Merit("mcc", r"mcc|matthews(?: corrcoef)?", bounded=True),
    Merit("kappa", r"kappa|cohen s? ?kappa|qwk"),
    Merit("precision", r"prec(?:ision)?(?:@\d+)?", bounded=True),
    Merit("recall", r"recall(?:@\d+)?|sensitivity|hits?@\d+", bounded=True),
    Merit("specificity", r"specificity", bounded=True),
    Merit("ndcg", r"ndcg(?:@\d+)?", bounded=True),
    Merit("mrr", r"mrr(?:@\d+)?", bounded=True),
    Merit("bleu", r"(?:sacre)?bleu"),
    Merit("rouge", r"rouge(?: ?[12l](?:sum)?)?"),
    Merit("correlation", r"(?:pearson|spearman)r?(?: corr(?:elation)?)?|corr(?:elation)?|c index|concordance"),
    Merit("psnr", r"psnrs?"),
    Merit("ssim", r"ssim"),
    Merit("top5_accuracy", r"top ?5(?: acc(?:uracy)?)?|acc(?:uracy)?(?: top ?5|@5|5)", bounded=True),
    Merit("perplexity", r"perplexity|ppl", higher_is_better=False, loss_like=True),
    Merit("bits", r"bp[bcd]|bits per (?:byte|char(?:acter)?|dim)", higher_is_better=False, loss_like=True),
    Merit("wer", r"wer|word error rate", higher_is_better=False),
    Merit("cer", r"cer|character error rate", higher_is_better=False),
    Merit("fid", r"fid", higher_is_better=False),
    Merit("rmse", r"n?rmse|rmsle|root mean squared? error", higher_is_better=False, loss_like=True),
    Merit("mse", r"n?mse(?: loss)?|mean squared? error", higher_is_better=False, loss_like=True),
    Merit("mae", r"mae|mean absolute error", higher_is_better=False, loss_like=True),
    Merit("mape", r"mape", higher_is_better=False, loss_like=True),
    Merit("smape", r"smape", higher_is_better=False, loss_like=True),
    Merit("distance", r"distance|divergence|kld?", higher_is_better=False, needs_split=True),
    Merit("error", r"err(?:or)?(?: rate)?", higher_is_better=False, needs_split=True),
    Merit("loss", r"loss|nll|cross entropy|bce|elbo loss", higher_is_better=False, needs_split=True, loss_like=True),
)
SPLITS: tuple[tuple[Split, str], ...] = (
    ("val", r"val|vali|valid(?:ation|ating)?|validate|dev|eval(?:uat(?:e|ion|ing))?|held ?out|hold ?out|unseen|cv"),
    ("test", r"test(?:ing)?|tst"),
    ("train", r"train(?:ing)?|trn|tr"),
)
SPLIT = "|".join(pattern for _, pattern in SPLITS)
_BEST = re.compile(r"\b(?:best|max|min|highest|lowest)\b")

# Words that may stand behind a figure without changing what it is.
_FILLER = (
    rf"{SPLIT}|epochs?|steps?|mean|avg|average|score|values?|total|overall|best|final|last|current|macro|micro|weighted|ema|so|far"
    r"|is|was|now|at|of|after|percent|pct|rate|set|data(?:set)?|split|images|samples|reached|achieved|obtained"
    r"|(?:improved|increased|decreased|rose|fell|dropped) to|dataloader idx \d+"
)
_PLACE = r"(?:on|of|for|over|in|using|with|from)((?: \S+){1,9})"
_TAIL = re.compile(rf"(?: (?:{_FILLER}))*(?: {_PLACE})?")
# Of these alone a place may consist that names no part of the data: "accuracy of the network", and not "accuracy of class 3".
_ANYWHERE = re.compile(
    r"(?: (?:the|a|an|our|this|my|all|whole|full|entire|neural|network|net|models?|classifier|ensemble|images?|samples?"
    r"|examples?|data|dataset|set|split|on|of|for|over|in|is|was|\d+))+"
)
# Words that make another thing of a figure, wherever they stand.
_OTHER_THING = re.compile(
    r"\b(?:grad|gradients?|target|goal|thresh(?:old)?|chance|random|baseline|expected|majority|previous|prev|old|required|desired|naive"
    r"|dummy|delta|change|improvement|gap|diff(?:erence)?|std|stderr|num(?:ber)?|no|if|when|until|while|want|need|reach|require|stop"
    r"|stopping|above|below|least|than|exceed|class(?:es)?|weights?|human|noise|ratio)\b"
)
_OF_A_HEADING = re.compile(
    r"\b(?:set|data|dataset|results?|metrics?|scores?|performance|phase|split|stage|summary|epoch|error|at|on|of|for|the|in|final)\b"
)
_TWO_PARTS = re.compile(rf"\b(?:{SPLIT}) ?[/&] ?(?:{SPLIT})(?!\w)")
_NEGATED = re.compile(r"\bneg (?:root|mean|median|max|mse|mae|rmse)\b")  # how scikit-learn turns an error into a score
_OF_A_BATCH = re.compile(r"\b(?:steps?|batch|mini ?batch|running|moving|iter(?:ation)?)\b")
_KINDS = tuple((merit, re.compile(rf"(?<!\S)(?:{merit.pattern})(?!\S)")) for merit in MERITS)
_PARTS = re.compile("|".join(rf"(?<!\S)(?P<{split}>{pattern})(?!\S)" for split, pattern in SPLITS))
CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z])")
_JOINT = re.compile(r"(?<!\d)[.]|[.](?!\d)|[_\-/:\[\]()|%'\"\s]+")
# A line without any of these pieces has no figure; one that has only pieces of the second kind has none without one of the third.
_PLAIN = (
    *(
        "acc",
        "match",
        "f1",
        "score",
        "measure",
        "auc",
        "auroc",
        "auprc",
        "r2",
        "r²",
        "r^2",
        "squared",
        "iou",
        "jaccard",
        "dice",
        "mcc",
    ),
    *("matthews", "kappa", "qwk", "prec", "recall", "sensitivity", "hit", "specificity", "ndcg", "mrr", "bleu", "rouge", "pearson"),
    *(
        "spearman",
        "corr",
        "index",
        "concordance",
        "psnr",
        "ssim",
        "top",
        "perplexity",
        "ppl",
        "bp",
        "bits",
        "wer",
        "cer",
        "word",
        "char",
    ),
    *("fid", "rms", "mse", "mean", "mae", "mape"),
)
_WITH_SPLIT = ("map", "average", "distance", "divergence", "kl", "err", "loss", "nll", "entropy", "bce", "elbo")
_UNSEEN = ("val", "dev", "eval", "held", "hold", "unseen", "cv", "test", "tst")
LOWER_IS_BETTER = frozenset(
    {
        "loss",
        "error",
        "err",
        "nll",
        "ce",
        "bce",
        "xent",
        "divergence",
        "kl",
        "distance",
        "mape",
        "eer",
        "time",
        "latency",
        "seconds",
    }
    | {merit.name for merit in MERITS if not merit.higher_is_better}
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a name speaks of; `best` where it is the best value so far, `of_a_batch` where it is a step's own."""

    merit: Merit
    split: Split
    best: bool = False
    of_a_batch: bool = False
    qualified: bool = False

    @property
    def name(self) -> str:
        """The name that all spellings share, such as "val_accuracy"."""
        return "_".join(part for part in ("best" if self.best else "", self.split, self.merit.name) if part)

    def about(self, split: Split) -> Meaning:
        """The same figure about that part of the data."""
        return self if split == self.split else replace(self, split=split)


def words_of(name: str) -> str:
    """The words of a name, in lower case, with one space between: "val/topAcc" and "val_top_acc" are the same."""
    return " ".join(_JOINT.sub(" ", CAMEL.sub(" ", name).lower()).split())


def may_speak_of_merit(line: str, heading: str) -> bool:
    """Whether a line in lower case under that heading is worth being read: false for most of what is printed, at little cost."""
    if any(piece in line for piece in _PLAIN):
        return True
    return any(piece in line for piece in _WITH_SPLIT) and (bool(heading) or any(piece in line for piece in _UNSEEN))


@lru_cache(maxsize=4096)
def meaning(name: str) -> Meaning | None:
    """What a name speaks of, or None where it is no figure of merit; figures about the training data have a meaning too."""
    words = words_of(name)
    if _OTHER_THING.search(words) or _TWO_PARTS.search(name.lower()):
        return None
    found = [(match.end(), -match.start(), merit) for merit, kind in _KINDS for match in kind.finditer(words)]
    for end, start, merit in sorted(found, key=lambda each: each[:2], reverse=True):
        before, tail = words[:-start].rstrip() if start else "", words[end:]
        if (fits := _TAIL.fullmatch(tail)) is None or not _is_place(fits[1] or "", tail):
            continue
        split = _split_beside(before, tail)
        return Meaning(
            merit,
            split,
            best=_BEST.search(words) is not None,
            of_a_batch=not split and _OF_A_BATCH.search(words) is not None,
            qualified=bool(before and not _PARTS.fullmatch(before)),
        )
    return None


def unseen_in(words: str) -> Split:
    """The part of the data not trained on that a title speaks of among other things, or "" where it is none or several."""
    named: set[Split] = {_named(match) for match in _PARTS.finditer(words_of(words))}
    return named.pop() if len(named) == 1 and "train" not in named else ""


@lru_cache(maxsize=4096)
def split_of(words: str) -> Split | None:
    """The part of the data that a heading names ("test set", "evaluation on the training data"), or None where it is about
    something else, or about two parts at once ("train/val")."""
    named = list(_PARTS.finditer(" ".join(_OF_A_HEADING.sub(" ", words_of(words)).split())))
    if not named or _PARTS.sub("", named[0].string).strip() or _TWO_PARTS.search(words.lower()):
        return None
    return _named(named[-1])


def higher_is_better(name: str) -> bool:
    """Whether more of a metric is an improvement, judged by the words of its name; yes for a name that says nothing."""
    found, words = meaning(name), words_of(name)
    if _NEGATED.search(words):
        return True
    return found.merit.higher_is_better if found else not LOWER_IS_BETTER & set(words.split())


def is_merit(name: str) -> bool:
    """Whether a metric's name speaks of quality on data not trained on, so that a race may be decided by it."""
    found = meaning(name)
    if found is None or found.split == "train":
        return False
    return bool(found.split) or not (found.of_a_batch or found.merit.needs_split)


def preference(name: str) -> tuple[bool, int, bool, int, bool, str]:
    """A sort key for metrics: what decides a race comes first. Figures that name their data come before those that do not, then
    accuracy before the rest, a last value before a best one, validation before test, a plain name before a longer one."""
    found = meaning(name)
    if found is None:
        return True, len(MERITS), False, len(SPLITS), False, name
    rank = ("val", "test", "", "train").index(found.split)
    return not found.split, MERITS.index(found.merit), found.best, rank, found.qualified, name


def _is_place(place: str, tail: str) -> bool:
    """Whether what stands behind "on" or "of" is where a figure was measured, and not what else it is a figure of."""
    return not place or _PARTS.search(place) is not None or _ANYWHERE.fullmatch(place) is not None or " on " in f" {tail} "


def _split_beside(before: str, after: str) -> Split:
    """The part of the data named nearest to the figure: the last one before it, else the first one behind it."""
    parts = list(_PARTS.finditer(before))
    match = parts[-1] if parts else _PARTS.search(after)
    return _named(match) if match else ""


def _named(match: re.Match[str]) -> Split:
    return next(split for split, _ in SPLITS if match[split])
