"""Reads the figures of merit that a script prints, from its output as text. It runs nothing and guesses no meaning beyond names.

Only names that speak of quality on data not trained on are read: "accuracy 0.972", "val_acc: 97.2%", "test loss = 0.35",
"RESULT metric=val_accuracy value=0.97", "Accuracy: 9913/10000 (99%)". A name's last value counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Merit:
    """One kind of figure: its name, the pattern of the words that people print for it, and which way is better.

    `needs_split` is for figures that are about the training data unless "val" or "test" stands before them.
    """

    name: str
    pattern: str
    higher_is_better: bool = True
    needs_split: bool = False


# In order of preference where a script reports several.
MERITS: tuple[Merit, ...] = (
    Merit("accuracy", r"(?:balanced )?accuracy|acc(?:@1|1)?|top[ -]?1(?: acc(?:uracy)?)?"),
    Merit("f1", r"(?:macro |micro |weighted )?f1(?: score)?|f score"),
    Merit("auc", r"(?:roc )?auc|auroc|(?:roc )?auc score"),
    Merit("r2", r"r2(?: score)?|r²|r\^2"),
    Merit("iou", r"m?iou|mean iou|jaccard"),
    Merit("dice", r"dice(?: score)?"),
    Merit("precision", r"precision"),
    Merit("recall", r"recall"),
    Merit("bleu", r"bleu"),
    Merit("perplexity", r"perplexity|ppl", higher_is_better=False),
    Merit("wer", r"wer|word error rate", higher_is_better=False),
    Merit("cer", r"cer|character error rate", higher_is_better=False),
    Merit("rmse", r"rmse", higher_is_better=False),
    Merit("mse", r"mse(?: loss)?|mean squared error", higher_is_better=False),
    Merit("mae", r"mae|mean absolute error", higher_is_better=False),
    Merit("error", r"err(?:or)?(?: rate)?", higher_is_better=False, needs_split=True),
    Merit("loss", r"(?:average |avg |mean )?(?:loss|nll)", higher_is_better=False, needs_split=True),
)
SPLITS = (
    ("val", r"val(?:id(?:ation)?)?|dev|eval(?:uation)?|held(?: out)?"),
    ("test", r"test(?:ing)?(?: set)?"),
    ("train", r"train(?:ing)?(?: set)?"),
)
LOWER_IS_BETTER = frozenset(
    {"loss", "error", "err", "nll", "mape", "time", "fid"} | {m.name for m in MERITS if not m.higher_is_better}
)

_NUMBER = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|inf)"
_SPLIT = "|".join(pattern for _, pattern in SPLITS)
_MERIT = "|".join(sorted((m.pattern for m in MERITS), key=len, reverse=True))
_FIGURE = re.compile(
    rf"(?<![\w.])(?:(?P<split>{_SPLIT})[ :,]{{1,2}})?(?P<merit>{_MERIT})"
    rf"(?P<place> (?:on|of|for) [^:=|,;]{{1,50}}(?=[:=]))?(?: value)?\s?[:=]?\s{{0,8}}"
    rf"(?P<value>{_NUMBER})(?:/(?P<whole>\d+))?(?P<percent> ?%)?(?![\w.])"
)
# "loss 0.31 val 0.44": a part of the data alone, with the merit that was named before it. Whole numbers count something else.
_BARE = re.compile(rf"(?<![\w.])(?P<split>{_SPLIT})\s?[:=]?\s{{0,8}}(?P<value>{_NUMBER})(?P<percent> ?%)?(?![\w./])")
_JOINTS = re.compile(r"[_\-/](?=[a-z])|['\"]|metric=")


def printed_metrics(text: str) -> dict[str, float]:
    """The last value of each figure of merit in `text`, by its normalised name, such as "val_accuracy".

    Percentages and counts ("9913/10000") become fractions.
    """
    found: dict[str, float] = {}
    for line in text.lower().splitlines():
        plain = _JOINTS.sub(lambda joint: " " if len(joint[0]) == 1 and joint[0] in "_-/" else "", line)
        for match in _FIGURE.finditer(plain):
            merit = next(m for m in MERITS if re.fullmatch(m.pattern, match["merit"]))
            split = _split(match["split"] or match["place"] or "")
            if split == "train" or (merit.needs_split and not split):
                continue
            scale = float(match["whole"]) if match["whole"] else 100.0 if match["percent"] else 1.0
            if scale > 0:
                found[f"{split}_{merit.name}".lstrip("_")] = float(match["value"]) / scale
        found |= _bare_metrics(plain)
    return found


def _bare_metrics(plain: str) -> dict[str, float]:
    """Figures of a line that name their part of the data and leave the merit to what stands before them."""
    found: dict[str, float] = {}
    for match in _BARE.finditer(plain):
        split = _split(match["split"])
        named = [merit for merit in MERITS for _ in re.finditer(rf"(?<![\w.])(?:{merit.pattern})(?![\w.])", plain[: match.start()])]
        if split != "train" and len(named) == 1 and (match["percent"] or not match["value"].isdigit()):
            found[f"{split}_{named[0].name}"] = float(match["value"]) / (100.0 if match["percent"] else 1.0)
    return found


def _split(words: str) -> str:
    """The part of the data that the words name: val, test, train, or "" for none."""
    return next((name for name, pattern in SPLITS if re.search(rf"\b(?:{pattern})\b", words)), "")


def higher_is_better(name: str) -> bool:
    """Whether more of a metric is an improvement, judged by the words of its name; yes for a name that says nothing."""
    return not LOWER_IS_BETTER & set(re.split(r"[^a-z0-9]+", name.lower()))


def is_merit(name: str) -> bool:
    """Whether a metric's name speaks of quality on data not trained on, so that a race may be decided by it."""
    return bool(printed_metrics(f"{name} 1"))


def preference(name: str) -> tuple[int, int, str]:
    """A sort key for metrics: what decides a race comes first. Validation before test, accuracy before the rest."""
    normal = next(iter(printed_metrics(f"{name} 1")), name)
    kinds = [i for i, merit in enumerate(MERITS) if normal.endswith(merit.name)]
    split = 0 if normal.startswith("val_") else 1 if normal.startswith("test_") else 2
    return min(kinds, default=len(MERITS)), split, name
