"""The rule output-mismatch: the network's last operation does not fit its loss or its targets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import COUNTED, LOGARITHM_OF_NEGATIVE, MEASURED_FAULT, SOFTMAX_OF_ONE_VALUE, SOFTMAX_OVER_BATCH
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView, finite_median
from unvanish.diagnose.thresholds import COMPARED, FLOOR, HALF_LEARNED, NOT_LOGARITHMS, UNREACHABLE, ZERO_SCORES
from unvanish.record.finding import Cause, Evidence, Finding, Severity
from unvanish.record.structure import Head, Location

LOGIT_LOSSES = frozenset({"cross-entropy", "binary-cross-entropy-with-logits"})
# Scores that can only lie so far apart, by the operation that makes them.
SPREAD_OF_SCORES = {"softmax": 1.0, "sigmoid": 1.0, "hardsigmoid": 1.0, "tanh": 2.0}
NAMES = {
    "cross-entropy": "cross entropy",
    "binary-cross-entropy-with-logits": "binary cross entropy on scores",
    "binary-cross-entropy": "binary cross entropy",
    "squared": "squared error",
    "absolute": "absolute error",
    "likelihood": "negative log likelihood",
    "logarithm": "hand-made likelihood",
}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A misfit of output and loss, with the texts and figures of its finding."""

    summary: str
    why: str
    advice: str
    evidence: Evidence
    confidence: float
    remedies: tuple[str, ...] = ()


@final
class OutputMismatch(Rule):
    """The network's last operation and its loss do not fit each other.

    Sees: the operations between the last weights and the loss, as the autograd graph has them, however they are spelt; the
    targets, and what the last operation can put out. A softmax or sigmoid that the loss applies once more; a softmax over one
    value or over the examples; targets that a sigmoid, tanh or ReLU cannot reach; logarithms of what is no probability; a
    difference of shapes (N, 1) and (N,) that compares everything with everything.

    Why it matters: the loss cannot fall below a floor, or the gradient is flat or wrong, whatever the network learns.

    Known problems: an operation that is multiplied or shifted afterwards has bounds that are not known, and is left alone.

    Example: `nn.Softmax(dim=1)` at the end of a model that is trained with `nn.CrossEntropyLoss`.

    References: PyTorch documentation, "CrossEntropyLoss" and "BCEWithLogitsLoss"; Goodfellow, Bengio and Courville 2016,
    section 6.2.
    """

    code: ClassVar[str] = "output-mismatch"
    rank: ClassVar[int] = 7
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "vanishing-gradient", "exploding-gradient", "saturated-activation", "dead-units", "non-finite"}
        | {"learning-rate-too-low", "learning-rate-too-high", "representation-collapse", "off-critical-init", "overfitting"}
        | {"disconnected-parameter", "attention-collapse", "gradient-underflow", "unscaled-input"}
    )

    def examine(self, view: RunView) -> Iterator[Finding]:
        for index, head in enumerate(view.structure.heads):
            mismatch = _find_mismatch(view, index, head)
            if mismatch is not None:
                yield Finding(
                    self.code,
                    Severity.CRITICAL,
                    mismatch.confidence,
                    mismatch.summary,
                    mismatch.why,
                    advice=mismatch.advice,
                    sites=_sites(view, head),
                    cause=Cause(self.code),
                    evidence=(mismatch.evidence,),
                    remedies=mismatch.remedies,
                    began=int(view.run.sampled[0]),
                    location=_location(view, head),
                )
                return


def _find_mismatch(view: RunView, index: int, head: Head) -> Mismatch | None:
    last = head.squash[-1] if head.squash else ""
    return (
        _check_softmax_of_one_value(head)
        or _check_softmax_over_examples(head)
        or _check_applied_twice(head, last)
        or _check_broadcast(view, index)
        or _check_probabilities(view, index, head, last)
        or _check_reachable_targets(view, index, head, last)
        or _check_relu_on_scores(view, head, last)
    )


def _check_softmax_of_one_value(head: Head) -> Mismatch | None:
    if head.softmax_extent != 1:
        return None
    return Mismatch(
        "The network always gives the same answer: its softmax runs over a single value.",
        "A softmax makes its values sum to one, so that one value alone is always 1, whatever the network computes, and its "
        "gradient is exactly zero.",
        "Use a sigmoid (or binary cross entropy on scores) for one output, or as many outputs as there are classes.",
        Evidence("values in the softmax", 1.0, "count", 2.0, "a softmax over one value is constant"),
        SOFTMAX_OF_ONE_VALUE.value,
        ("logits",) if head.criterion in LOGIT_LOSSES else ("sigmoid-output",),
    )


def _check_softmax_over_examples(head: Head) -> Mismatch | None:
    if not head.over_examples or head.criterion not in (*LOGIT_LOSSES, "likelihood", "logarithm", "squared"):
        return None
    return Mismatch(
        "The softmax compares the examples of a batch with each other instead of the classes.",
        f"It runs over the first dimension, the {head.softmax_extent} examples, so the shares of one class over the batch sum to "
        "one.",
        "Let the softmax run over the classes: dim=1, or dim=-1.",
        Evidence("dimension of the softmax", 0.0, "1", 1.0, "the classes' dimension"),
        SOFTMAX_OVER_BATCH.value,
        _remedies_for(head),
    )


def _check_applied_twice(head: Head, last: str) -> Mismatch | None:
    """The mismatch of scores that pass a softmax or sigmoid before a loss that applies one itself."""
    if head.criterion not in LOGIT_LOSSES or last not in SPREAD_OF_SCORES:
        return None
    floor, chance = _loss_floor(head, last)
    own_operation = "softmax" if head.criterion == "cross-entropy" else "sigmoid"
    return Mismatch(
        f"The loss expects raw scores, and gets the output of a {last}.",
        f"The {NAMES[head.criterion]} applies a {own_operation} itself. Squeezed by a {last} first, the scores lie within "
        f"{SPREAD_OF_SCORES[last]:.0f} of each other, so that the loss cannot fall below {floor:.2f}, where blind guessing has "
        f"{chance:.2f}, and its gradient is flattened.",
        f"Leave the {last} out: the loss has it already.",
        FLOOR.as_evidence("least possible loss over blind guessing", floor / chance),
        FLOOR.confidence(floor / chance, MEASURED_FAULT),
        ("logits",),
    )


def _loss_floor(head: Head, last: str) -> tuple[float, float]:
    """The least loss that bounded scores allow, and that of blind guessing, in nats."""
    spread = SPREAD_OF_SCORES[last]
    if head.criterion == "cross-entropy":
        classes = max(2, head.width)
        return math.log1p((classes - 1) * math.exp(-spread)), math.log(classes)
    low = -1.0 if last == "tanh" else 0.0
    return 0.5 * (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(low))), math.log(2)


def _check_broadcast(view: RunView, index: int) -> Mismatch | None:
    comparisons = finite_median(view.values("comparisons")[:, index])
    if not comparisons >= COMPARED.value:
        return None
    return Mismatch(
        "The loss compares every answer with every target, because their shapes differ.",
        f"Output and target are broadcast against each other, as (N, 1) and (N,) are: each answer is compared {comparisons:.0f} "
        "times, and the best the network can do is the mean of all targets.",
        "Give both the same shape, with squeeze(1) or unsqueeze(1).",
        COMPARED.as_evidence("comparisons of each answer", comparisons),
        COMPARED.confidence(comparisons, COUNTED),
    )


def _check_probabilities(view: RunView, index: int, head: Head, last: str) -> Mismatch | None:
    deviation = finite_median(view.values("log10_probability_sum")[:, index])
    if head.criterion == "likelihood" and deviation >= NOT_LOGARITHMS.value:
        return Mismatch(
            "The loss expects logarithms of probabilities, and gets something else.",
            "A negative log likelihood takes the output of a log-softmax, whose probabilities sum to one; here their sum is off by "
            f"{deviation:.2g} decades{f' (the last operation is a {last})' if last else ''}. The loss then falls without end, or "
            "stays flat.",
            "Use a cross entropy on the scores, or a log-softmax before this loss.",
            NOT_LOGARITHMS.as_evidence("log10 of the probabilities' sum", deviation),
            NOT_LOGARITHMS.confidence(deviation, MEASURED_FAULT),
            _remedies_for(head),
        )
    low = view.values("output_low")[:, index]
    low = low[np.isfinite(low)]
    if head.criterion == "logarithm" and last in ("", "scaled") and len(low) and float(low[0]) < 0.0:
        return Mismatch(
            "The loss takes logarithms of scores that are no probabilities.",
            f"What it takes the logarithm of goes down to {wording.format_number(float(low[0]))}, where only values above zero "
            "have one.",
            "Use a cross entropy on the scores, which takes its logarithms where they exist.",
            Evidence("least argument of the logarithm", float(low[0]), "1", 0.0, "logarithms exist above zero"),
            LOGARITHM_OF_NEGATIVE.value,
            _remedies_for(head),
        )
    return None


def _check_reachable_targets(view: RunView, index: int, head: Head, last: str) -> Mismatch | None:
    share = finite_median(view.values("unreachable_fraction")[:, index])
    if not share >= UNREACHABLE.value:
        return None
    if last == "softmax" and head.width > 1:
        return Mismatch(
            "The network cannot give the answers that are asked: its probabilities always sum to one.",
            f"{wording.format_percent(share)} of the examples have targets that sum to something else, as several tags do. A "
            "softmax cannot make more than one of them likely.",
            "Use a sigmoid for each output, or binary cross entropy on scores.",
            UNREACHABLE.as_evidence("examples whose targets do not sum to one", share),
            UNREACHABLE.confidence(share, MEASURED_FAULT),
            ("logits",) if head.criterion in LOGIT_LOSSES else ("sigmoid-output",),
        )
    low, high = (finite_median(view.values(name)[:, index]) for name in ("target_low", "target_high"))
    targets = (
        f"{wording.format_percent(share)} of the targets, which go from {wording.format_number(low)} to "
        f"{wording.format_number(high)},"
    )
    if head.criterion == "binary-cross-entropy-with-logits":
        return Mismatch(
            "The loss is made for answers between 0 and 1, and the targets are others.",
            f"{targets} are no probabilities: the loss has no lower end then.",
            "Use a cross entropy with one output for each class, or bring the targets to 0 and 1.",
            UNREACHABLE.as_evidence("targets outside 0 to 1", share),
            UNREACHABLE.confidence(share, MEASURED_FAULT),
        )
    return Mismatch(
        f"The network cannot give the answers that are asked: its last operation is a {last}.",
        f"{targets} lie outside what a {last} can put out. The nearest it can come to them is its end, where its gradient "
        "vanishes.",
        f"Leave the {last} at the end out, or bring the targets into its range.",
        UNREACHABLE.as_evidence("targets out of reach", share),
        UNREACHABLE.confidence(share, MEASURED_FAULT),
        ("logits",),
    )


def _check_relu_on_scores(view: RunView, head: Head, last: str) -> Mismatch | None:
    """The mismatch of a ReLU on scores: a class whose score is zero gets no gradient."""
    if last != "relu" or head.criterion not in (*LOGIT_LOSSES, "likelihood", "logarithm"):
        return None
    relus = [i for i, s in enumerate(view.structure.sites) if s.network == head.network and s.op == "relu"]
    zeros = float(view.late_median("zero_fraction")[max(relus, key=lambda i: view.site(i).order)]) if relus else np.nan
    stack = next((stack for stack in view.stacks if head.network in stack.networks), None)
    if not zeros >= ZERO_SCORES.value or (stack is not None and view.heads(stack) and view.has_learned(stack, HALF_LEARNED.value)):
        return None
    return Mismatch(
        "The network's scores pass through a ReLU, which silences the classes that it should learn.",
        f"{wording.format_percent(zeros)} of the scores are exactly zero: a class whose score is zero gets no gradient, and stays "
        "there.",
        "Leave the ReLU after the last layer out.",
        ZERO_SCORES.as_evidence("scores that are zero", zeros),
        ZERO_SCORES.confidence(zeros),
        _remedies_for(head),
    )


def _remedies_for(head: Head) -> tuple[str, ...]:
    """The remedies that end the network as its loss expects, the likeliest first."""
    if head.criterion in LOGIT_LOSSES:
        return ("logits",)
    if head.criterion == "likelihood":
        return ("log-softmax-output",)
    return ("sigmoid-output",) if head.width == 1 else ("softmax-output", "sigmoid-output")


def _sites(view: RunView, head: Head) -> tuple[str, ...]:
    """The labels of the last weights, and of the operations after them that the head names."""
    if head.parameter is None:
        return ()
    weights = [i for i, s in enumerate(view.structure.sites) if head.parameter in s.parameters]
    after = [
        i
        for i, s in enumerate(view.structure.sites)
        if weights and s.network == head.network and s.order > view.site(weights[0]).order and s.op in head.squash
    ]
    return view.site_labels([*weights, *after])


def _location(view: RunView, head: Head) -> Location | None:
    last = [s for s in view.structure.sites if s.network == head.network and s.op in head.squash and s.kind == "activation"]
    return max(last, key=lambda s: s.order).location if last else head.location
