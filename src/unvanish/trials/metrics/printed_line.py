"""Reads the figures in one line of a script's output: labels, and the numbers behind them. What a label means is not known here.

A line is cut into words, numbers and breaks; the words before a number are its label. A part of the data that is named ahead
("Test set: loss 0.3, accuracy 0.9") holds for what comes after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from unvanish.trials.metrics.metric_names import CAMEL, SPLIT, Meaning, Merit, Split, meaning, split_of

LONGEST = 2000  # characters of a line that are looked at
MOST_WORDS = 14  # of a label: those nearest to the number

NUMBER = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|inf(?:inity)?)"
BARS = "|│┃║"
COUNTERS = r"epochs?|ep|(?:global )?steps?|iters?|iterations?|it|batch|updates?"
_PART = rf"(?:{SPLIT})(?:[ _]set)?"
# A count of the training's progress, such as "Epoch [3/10]"; it is no part of any label, and nor is that of another repetition.
_OF = r"\d+(?:\.\d+)?(?:\s{0,2}(?:/|of)\s{0,2}\d+)?"
_COUNT = (
    rf"(?:(?P<progress>{COUNTERS})|round|fold|seed|trial|run|episode|generation)\s{{0,4}}[:=#]?\s{{0,4}}"
    rf"(?:\[\s{{0,4}}{_OF}\s{{0,2}}\]|\(\s{{0,4}}{_OF}\s{{0,2}}\)|{_OF}(?![\w%]|\.\d|\s?/\s?\d))"
)
_COUNTER = re.compile(rf"(?<![\w@/]){_COUNT}")
_QUOTES = str.maketrans("", "", "'\"`*")
_PROGRESS = re.compile(r"\d\s?%\s?[|├]|\b(?:it|s|ms|batch|batches|samples)/(?:s|it|step|epoch|batch|sec)\b")
_NO_REPORT = re.compile(r"(?:namespace|config|args|arguments|params)\(|hyper ?param|^\s*usage:|^\s*--\w")
_ALONE = r"(?<![\w./@^])(?<!\w-)"
# What a rewriting needs in the line, so that most are not tried; the pattern; and what stands in its place.
_REWRITTEN: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("(", re.compile(rf"(?:tensor|(?:np\.|numpy\.)?float\d*|array)\(\s?({NUMBER})[^()]{{0,60}}\)"), r"\1"),
    ("training", re.compile(r"\b(?:after|before)\s+(?:the\s+)?(?:fine-?)?training\b"), " "),
    ("(", re.compile(r"\(\s{0,4}%?\s{0,4}\)"), " "),
    ("[", re.compile(r"\[\s{0,4}%?\s{0,4}\]"), " "),
    # "0.90 (0.93)" is how meters show a batch's value and the mean so far.
    ("(", re.compile(rf"{_ALONE}(?:{NUMBER})\s{{0,2}}\(\s{{0,4}}({NUMBER})\s{{0,2}}\)"), r"\1"),
    # "0.93 (test)" and "0.93 on the test set" name the data behind the figure.
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
    rf"(?P<number>(?<![\w.@^])(?P<value>{NUMBER})(?!\w|\.\w|\s?%[|├])(?:\s?/\s?(?P<whole>\d+)(?![\w.])|\s?(?P<percent>%))?(?!\s?/))"
    r"|(?P<word>[^\W_](?:\w|[@^]|[./\-](?=\w))*)|(?P<assign>[:=≈~])|(?P<space>\s+)|(?P<comma>[,;])|(?P<bar>[|│┃║–-])|(?P<other>.)"
)
_ABSORBING = frozenset({"the", "of", "last", "first", "top", "all", "over", "for", "in", "on", "at"})
_WIDTHS = frozenset({8.0, 16.0, 32.0, 64.0})  # "precision 16" speaks of numbers


class Figure(NamedTuple):
    """A figure that was read: what it is, and its value, a fraction where a percentage or a count was printed."""

    meaning: Meaning
    value: float


class _Named(NamedTuple):
    merit: Merit
    split: Split
    valued: bool


class _Bare(NamedTuple):
    """A number behind nothing but a part of the data, and the kinds of figures that were named before it."""

    split: Split
    value: float
    named: tuple[_Named, ...]


@dataclass(slots=True)
class _Reading:
    """What is known while a line is read from left to right."""

    heading: Split = ""  # the part of the data that holds until another is named
    nearby: Split = ""  # the part that the label before named: it holds until a bar
    words: list[str] = field(default_factory=list[str])
    assigned: bool = False
    figures: list[Figure] = field(default_factory=list[Figure])
    named: list[_Named] = field(default_factory=list[_Named])
    bare: list[_Bare] = field(default_factory=list[_Bare])

    def word(self, text: str) -> None:
        """A word, which begins a new label where the last one ended in a colon."""
        if self.assigned:
            self.end_label()
        self.words.append(text)

    def end_label(self, *, bar: bool = False) -> None:
        """The label has no number: it may be a heading, or name the kind of figures that follow."""
        label = self._take_label()
        part, found = split_of(label), meaning(label)
        if part:
            self.heading = part
        elif found:
            self.named.append(_Named(found.merit, found.split, False))
        if bar or part:
            self.nearby = ""

    def number(self, token: re.Match[str]) -> None:
        """A number: the value of the label before it."""
        label = self._take_label()
        found = meaning(label)
        part = split_of(label) if found is None else None
        if part and not token["whole"] and (token["percent"] or not token["value"].lstrip("+-").isdigit()):
            self.bare.append(_Bare(part, _value(token), tuple(self.named)))
        elif found is not None and _is_value_of(found, label, token):
            if found.split and any(map(split_of, label.split())):
                self.nearby = found.split
            figure = found.about(found.split or self.nearby or self.heading)
            self.named.append(_Named(figure.merit, figure.split, True))
            self.figures.append(Figure(figure, _value(token)))

    def takes_in(self, token: re.Match[str], following: re.Match[str] | None) -> bool:
        """Whether a number is a word of the label: "on the 10000 test images"."""
        inside = following is not None and following.lastgroup == "word" and token["value"].isdigit()
        return inside and not self.assigned and token[0] == token["value"] and bool(_ABSORBING & set(self.words[-1:]))

    def _take_label(self) -> str:
        label = " ".join(self.words[-MOST_WORDS:])
        self.words, self.assigned = [], False
        return label


def figures_of(line: str, heading: Split = "") -> list[Figure]:
    """The figures of merit in a line, in their order; `heading` is the part of the data that the lines above spoke of."""
    plain, counted = _plain(line)
    if _NO_REPORT.search(plain):
        return []
    reading = _Reading(heading)
    tokens = [token for token in _TOKEN.finditer(plain) if token.lastgroup != "space"]
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token["word"] or (token["number"] and reading.takes_in(token, following)):
            reading.word(token[0])
        elif token["number"]:
            reading.number(token)
        elif token["assign"]:
            reading.assigned = bool(reading.words)
        else:
            reading.end_label(bar=bool(token["bar"]))
    return about_unseen([*reading.figures, *_bare_figures(reading)], counted=counted)


def counts_progress(line: str) -> bool:
    """Whether a line counts epochs or steps."""
    return _plain(line)[1]


def about_unseen(figures: list[Figure], *, counted: bool) -> list[Figure]:
    """Those of a line's figures that are about data not trained on.

    A figure that names no data is about the training where the same one stands beside it for validation, or, in a line that counts
    epochs or steps, where a plain loss does or where it is one itself ("loss 0.3 accuracy 0.9"). Of "accuracy" and "start accuracy"
    the plain one is meant.
    """
    named = {figure.meaning.merit for figure in figures if figure.meaning.split in ("val", "test")}
    plain = [figure.meaning for figure in figures if not figure.meaning.split]
    training = any(each.merit in named for each in plain) or (counted and any(each.merit.name == "loss" for each in plain))

    def counts(found: Meaning) -> bool:
        if found.split:
            return found.split != "train"
        if found.merit.needs_split or found.of_a_batch:
            return False
        return found.best or not (training or (counted and found.merit.loss_like))

    kept = [figure for figure in figures if counts(figure.meaning)]
    unqualified = {figure.meaning.name for figure in kept if not figure.meaning.qualified}
    return [figure for figure in kept if not (figure.meaning.qualified and figure.meaning.name in unqualified)]


def _plain(line: str) -> tuple[str, bool]:
    """The line in the one form that is read, and whether it counts epochs or steps."""
    text = CAMEL.sub("_", line[:LONGEST]).translate(_QUOTES).lower()
    counted = _PROGRESS.search(text) is not None or any(count["progress"] for count in _COUNTER.finditer(text))
    text = _COUNTER.sub(" ", text)
    for needed, pattern, replacement in _REWRITTEN:
        if needed in text:
            text = pattern.sub(replacement, text)
    return text, counted


def _bare_figures(reading: _Reading) -> list[Figure]:
    """Figures that leave their kind to what stands before them: "loss 0.31 val 0.44", "accuracy: train 0.9 val 0.8".

    Where several parts stand behind a figure that has a value of its own ("Loss: 0.5, Train: 0.9, Val: 0.8"), they are another's.
    """
    found: list[Figure] = []
    for bare in reading.bare:
        kinds = {named.merit for named in bare.named}
        anothers = len(reading.bare) > 1 and any(named.valued and not named.split for named in bare.named)
        if len(kinds) == 1 and not anothers:
            found.append(Figure(Meaning(kinds.pop(), bare.split), bare.value))
    return found


def _value(token: re.Match[str]) -> float:
    scale = float(token["whole"]) if token["whole"] else 100.0 if token["percent"] else 1.0
    return float(token["value"]) / scale if scale else float("nan")


def _is_value_of(found: Meaning, label: str, token: re.Match[str]) -> bool:
    """Whether a number can be the figure's value, and does not count something else."""
    value, whole = float(token["value"]), token["whole"]
    if whole and not (token["value"].isdigit() and 0 <= value <= float(whole) and float(whole) > 0):
        return False
    if token["value"].isdigit() and re.search(r"(?:epochs?|steps?)$", label):
        return False
    if found.merit.name == "precision" and token[0].isdigit() and value in _WIDTHS:
        return False
    return not found.merit.bounded or bool(whole) or value != value or 0.0 <= value <= 100.0
