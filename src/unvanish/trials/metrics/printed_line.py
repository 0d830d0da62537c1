"""Reads the metrics in one line of a script's output: labels, and the numbers behind them.

A line is cut into words, numbers and breaks; the words before a number are its label. A split of the data that is named ahead
("Test set: loss 0.3, accuracy 0.9") holds for what comes after it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from unvanish.trials.metrics.metric_names import CAMEL, SPLIT, MetricKind, ParsedMetric, Split, parse_metric, parse_split

MAX_LINE = 2000  # characters of a line that are read
MAX_LABEL_WORDS = 14  # those nearest to the number

NUMBER = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|inf(?:inity)?)"
BARS = "|│┃║"
COUNTERS = r"epochs?|ep|(?:global )?steps?|iters?|iterations?|it|batch|updates?"
_PART = rf"(?:{SPLIT})(?:[ _]set)?"
# A count of the training's progress, such as "Epoch [3/10]", or of another repetition; it is no part of any label.
_OF = r"\d+(?:\.\d+)?(?:\s{0,2}(?:/|of)\s{0,2}\d+)?"
_COUNT = (
    rf"(?:(?P<progress>{COUNTERS})|round|fold|seed|trial|run|episode|generation)\s{{0,4}}[:=#]?\s{{0,4}}"
    rf"(?:\[\s{{0,4}}{_OF}\s{{0,2}}\]|\(\s{{0,4}}{_OF}\s{{0,2}}\)|{_OF}(?![\w%]|\.\d|\s?/\s?\d))"
)
_COUNTER = re.compile(rf"(?<![\w@/]){_COUNT}")
_QUOTES = str.maketrans("", "", "'\"`*")
_PROGRESS = re.compile(r"\d\s?%\s?[|├]|\b(?:it|s|ms|batch|batches|samples)/(?:s|it|step|epoch|batch|sec)\b")
_NOT_A_REPORT = re.compile(r"(?:namespace|config|args|arguments|params)\(|hyper ?param|^\s*usage:|^\s*--\w")
_ALONE = r"(?<![\w./@^])(?<!\w-)"
# Rewriting rules: a piece without which a rule is not tried, the pattern, and the replacement.
_REWRITE_RULES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("(", re.compile(rf"(?:tensor|(?:np\.|numpy\.)?float\d*|array)\(\s?({NUMBER})[^()]{{0,60}}\)"), r"\1"),
    ("training", re.compile(r"\b(?:after|before)\s+(?:the\s+)?(?:fine-?)?training\b"), " "),
    ("(", re.compile(r"\(\s{0,4}%?\s{0,4}\)"), " "),
    ("[", re.compile(r"\[\s{0,4}%?\s{0,4}\]"), " "),
    # "0.90 (0.93)" is how meters show a batch's value and the mean so far.
    ("(", re.compile(rf"{_ALONE}(?:{NUMBER})\s{{0,2}}\(\s{{0,4}}({NUMBER})\s{{0,2}}\)"), r"\1"),
    # "0.93 (test)" and "0.93 on the test set" name the split behind the number.
    ("(", re.compile(rf"{_ALONE}((?:{NUMBER})\s?%?)\s?\(\s?({_PART})\s?\)"), r" \2 \1"),
    (" o", re.compile(rf"{_ALONE}((?:{NUMBER})\s?%?) (?:on|over) (?:the )?(?:\w+ )?({_PART})\b"), r" \2 \1"),
    # "auroc (val) 0.9" has it in the label; "[val] loss 0.3" is a heading.
    *((left, re.compile(rf"\{left}\s?({_PART})\s?\{right}(?=\s?[:=]?\s?[-+.\d])"), r" \1") for left, right in ("()", "[]", "<>")),
    *((left, re.compile(rf"\{left}\s?({_PART})\s?\{right}:?"), r" \1: ") for left, right in ("()", "[]", "<>")),
    # A cell and its value: "│ val_acc │ 0.91 │".
    *(
        (bar, re.compile(rf"(?<=[a-z\d)])\s{{0,40}}\{bar}\s{{0,40}}(?=(?:{NUMBER})\s?%?\s{{0,40}}(?:\{bar}|$))"), " = ")
        for bar in f"{BARS}\t"
    ),
    ("\t", re.compile(r"\t"), " | "),
)
_TOKEN = re.compile(
    rf"(?P<number>(?<![\w.@^])(?P<value>{NUMBER})(?!\w|\.\w|\s?%[|├])(?:\s?/\s?(?P<total>\d+)(?![\w.])|\s?(?P<percent>%))?(?!\s?/))"
    r"|(?P<word>[^\W_](?:\w|[@^]|[./\-](?=\w))*)|(?P<assign>[:=≈~])|(?P<space>\s+)|(?P<comma>[,;])|(?P<bar>[|│┃║–-])|(?P<other>.)"
)
_ABSORBING = frozenset({"the", "of", "last", "first", "top", "all", "over", "for", "in", "on", "at"})
_WIDTHS = frozenset({8.0, 16.0, 32.0, 64.0})  # "precision 16" speaks of numbers


class MetricValue(NamedTuple):
    """A metric and its value, a fraction where a percentage or a count was printed."""

    metric: ParsedMetric
    value: float


class _NamedKind(NamedTuple):
    """A kind of metric that a label named, and whether a number followed."""

    kind: MetricKind
    split: Split
    has_value: bool


class _SplitValue(NamedTuple):
    """A number whose label is a split alone, and the kinds of metrics that were named before it."""

    split: Split
    value: float
    named: tuple[_NamedKind, ...]


@dataclass(slots=True)
class _LineParser:
    """State while a line is read from left to right."""

    heading: Split = ""  # the split that holds until another is named
    nearby: Split = ""  # the split that the label before named: it holds until a bar
    words: list[str] = field(default_factory=list[str])
    is_assigned: bool = False  # a colon or equals sign has followed the label
    values: list[MetricValue] = field(default_factory=list[MetricValue])
    named: list[_NamedKind] = field(default_factory=list[_NamedKind])
    split_values: list[_SplitValue] = field(default_factory=list[_SplitValue])

    def add_word(self, text: str) -> None:
        """A word, which begins a new label where the last one ended in a colon."""
        if self.is_assigned:
            self.end_label()
        self.words.append(text)

    def end_label(self, *, at_bar: bool = False) -> None:
        """The label has no number: it may be a heading, or name the kind of metrics that follow."""
        label = self._take_label()
        split, metric = parse_split(label), parse_metric(label)
        if split:
            self.heading = split
        elif metric:
            self.named.append(_NamedKind(metric.kind, metric.split, False))
        if at_bar or split:
            self.nearby = ""

    def add_number(self, token: re.Match[str]) -> None:
        """A number: the value of the label before it."""
        label = self._take_label()
        metric = parse_metric(label)
        split = parse_split(label) if metric is None else None
        if split and not token["total"] and (token["percent"] or not token["value"].lstrip("+-").isdigit()):
            self.split_values.append(_SplitValue(split, _value(token), tuple(self.named)))
        elif metric is not None and _is_value_of(metric, label, token):
            if metric.split and any(map(parse_split, label.split())):
                self.nearby = metric.split
            metric = metric.with_split(metric.split or self.nearby or self.heading)
            self.named.append(_NamedKind(metric.kind, metric.split, True))
            self.values.append(MetricValue(metric, _value(token)))

    def is_in_label(self, token: re.Match[str], following: re.Match[str] | None) -> bool:
        """Whether a number is a word of the label: "on the 10000 test images"."""
        is_inside = following is not None and following.lastgroup == "word" and token["value"].isdigit()
        return is_inside and not self.is_assigned and token[0] == token["value"] and bool(_ABSORBING & set(self.words[-1:]))

    def _take_label(self) -> str:
        label = " ".join(self.words[-MAX_LABEL_WORDS:])
        self.words, self.is_assigned = [], False
        return label


def parse_line(line: str, heading: Split = "") -> list[MetricValue]:
    """The metrics on held-out data in a line, in their order; `heading` is the split that the lines above named.

    Example:
        >>> [(metric.name, value) for metric, value in parse_line("epoch 3 | loss 0.31 | val_acc: 97.5%")]
        [('val_accuracy', 0.975)]
    """
    text, is_progress = _rewrite(line)
    if _NOT_A_REPORT.search(text):
        return []
    parser = _LineParser(heading)
    tokens = [token for token in _TOKEN.finditer(text) if token.lastgroup != "space"]
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token["word"] or (token["number"] and parser.is_in_label(token, following)):
            parser.add_word(token[0])
        elif token["number"]:
            parser.add_number(token)
        elif token["assign"]:
            parser.is_assigned = bool(parser.words)
        else:
            parser.end_label(at_bar=bool(token["bar"]))
    return select_held_out([*parser.values, *_split_metrics(parser.split_values)], is_progress=is_progress)


def is_progress_line(line: str) -> bool:
    """Whether a line counts epochs or steps."""
    return _rewrite(line)[1]


def select_held_out(values: list[MetricValue], *, is_progress: bool) -> list[MetricValue]:
    """Those of a line's metrics that are about data not trained on; `is_progress` where the line counts epochs or steps.

    A metric without a split is about the training where the same kind stands beside it for validation, or, in a line that counts
    epochs or steps, where a plain loss does or where it is one itself ("loss 0.3 accuracy 0.9"). Of "accuracy" and "start accuracy"
    the plain one is kept.
    """
    held_out_kinds = {metric.kind for metric, _ in values if metric.split in ("val", "test")}
    plain_kinds = [metric.kind for metric, _ in values if not metric.split]
    is_training = any(kind in held_out_kinds for kind in plain_kinds) or (
        is_progress and any(kind.name == "loss" for kind in plain_kinds)
    )

    def is_held_out(metric: ParsedMetric) -> bool:
        if metric.split or metric.kind.of_no_split:
            return metric.split != "train" and not metric.is_per_batch
        if metric.kind.needs_split or metric.is_per_batch:
            return False
        return metric.is_best or not (is_training or (is_progress and metric.kind.loss_like))

    kept = [value for value in values if is_held_out(value.metric)]
    unqualified = {metric.name for metric, _ in kept if not metric.is_qualified}
    return [value for value in kept if not (value.metric.is_qualified and value.metric.name in unqualified)]


def _rewrite(line: str) -> tuple[str, bool]:
    """The line in the one form that is parsed, and whether it counts epochs or steps."""
    text = CAMEL.sub("_", line[:MAX_LINE]).translate(_QUOTES).lower()
    is_progress = _PROGRESS.search(text) is not None or any(count["progress"] for count in _COUNTER.finditer(text))
    text = _COUNTER.sub(" ", text)
    for needed, pattern, replacement in _REWRITE_RULES:
        if needed in text:
            text = pattern.sub(replacement, text)
    return text, is_progress


def _split_metrics(split_values: list[_SplitValue]) -> list[MetricValue]:
    """Metrics whose kind was named before their split: "loss 0.31 val 0.44", "accuracy: train 0.9 val 0.8".

    Where several splits stand behind a metric that has a value of its own ("Loss: 0.5, Train: 0.9, Val: 0.8"), their values are of
    another kind.
    """
    values: list[MetricValue] = []
    for split, value, named in split_values:
        kinds = {entry.kind for entry in named}
        is_other_kind = len(split_values) > 1 and any(entry.has_value and not entry.split for entry in named)
        if len(kinds) == 1 and not is_other_kind:
            values.append(MetricValue(ParsedMetric(kinds.pop(), split), value))
    return values


def _value(token: re.Match[str]) -> float:
    scale = float(token["total"]) if token["total"] else 100.0 if token["percent"] else 1.0
    return float(token["value"]) / scale if scale else float("nan")


def _is_value_of(metric: ParsedMetric, label: str, token: re.Match[str]) -> bool:
    """Whether a number can be the metric's value, and does not count something else."""
    value, total = float(token["value"]), token["total"]
    if total and not (token["value"].isdigit() and 0 <= value <= float(total) and float(total) > 0):
        return False
    if token["value"].isdigit() and re.search(r"(?:epochs?|steps?)$", label):
        return False
    if metric.kind.name == "precision" and token[0].isdigit() and value in _WIDTHS:
        return False
    return not metric.kind.bounded or bool(total) or value != value or 0.0 <= value <= 100.0
