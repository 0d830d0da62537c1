"""Metrics of heads and statistics of inputs agree with plain loops over the same examples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from watching import observe_training

from unvanish.observe.output_head.neighbour_baseline import MIN_ROWS, NEIGHBOUR_COUNT
from unvanish.record.quantities import Axis, quantities

CLASSES = {"cross-entropy", "likelihood"}
BINARY = {"binary-cross-entropy", "binary-cross-entropy-with-logits"}
Table = list[list[float]]


@dataclass(frozen=True, slots=True)
class Case:
    """A head: the network's last activation, the loss, the targets of a batch of inputs, and the bounds of the output."""

    kind: str
    width: int
    squash: nn.Module | None
    loss: Callable[[Tensor, Tensor], Tensor]
    targets: Callable[[Tensor], Tensor]
    bounds: tuple[float, float] | None = None
    prediction: Callable[[Tensor], Tensor] = lambda output: output
    sums_to_one: bool = False
    comparisons: float = 1.0


@dataclass(slots=True)
class History:
    """All batches so far, the last one last: inputs, the inputs of the criterion, and targets."""

    case: Case
    inputs: list[Tensor] = field(default_factory=list)
    predictions: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """Prediction and target of each comparison of the criterion at this step."""
        prediction, targets = torch.broadcast_tensors(self.predictions[-1].double(), self.targets[-1].double())
        return list(zip(prediction.flatten().tolist(), targets.flatten().tolist(), strict=True))

    @property
    def columns(self) -> list[list[float]]:
        """Each column's targets, of all steps so far."""
        tables = [t.double().reshape(len(t), -1).tolist() for t in self.targets]
        return [[row[c] for table in tables for row in table] for c in range(len(tables[0][0]))]


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def variance(values: list[float]) -> float:
    return mean([(v - mean(values)) ** 2 for v in values])


def binary_loss(predicted: float, true: float, kind: str) -> float:
    p = predicted if kind == "binary-cross-entropy" else 1 / (1 + math.exp(-predicted))
    return -(true * math.log(p) + (1 - true) * math.log(1 - p))


def loss(h: History) -> float:
    kind = h.case.kind
    if kind in CLASSES:
        return mean([-row[c] for row, c in zip(h.predictions[-1].tolist(), h.targets[-1].tolist(), strict=True)])
    if kind in BINARY:
        return mean([binary_loss(predicted, true, kind) for predicted, true in h.pairs])
    return mean([abs(predicted - true) if kind == "absolute" else (predicted - true) ** 2 for predicted, true in h.pairs])


def constant_loss(h: History) -> float:
    """Of classes the entropy of their shares, with the bias of a small sample taken off (Miller 1955)."""
    if h.case.kind in CLASSES:
        counts = Counter(c for batch in h.targets for c in batch.tolist())
        total = sum(counts.values())
        return -sum(n / total * math.log(n / total) for n in counts.values()) + (len(counts) - 1) / (2 * total)
    if h.case.kind in BINARY:
        shares = [mean(column) for column in h.columns]
        return mean([-(p * math.log(p) + (1 - p) * math.log(1 - p)) for p in shares])
    if h.case.kind == "squared":
        return mean([variance(column) for column in h.columns])
    latest = [column[-len(h.targets[-1]) :] for column in h.columns]
    return mean([abs(v - mean(column)) for column, new in zip(h.columns, latest, strict=True) for v in new])


def least_loss(h: History) -> float:
    """No prediction of targets between 0 and 1 has a loss below their own entropy."""
    if h.case.kind not in BINARY:
        return math.nan
    shares = [min(max(true, 0.0), 1.0) for _, true in h.pairs]
    return mean([-sum(p * math.log(p) for p in (share, 1 - share) if p > 0) for share in shares])


def score(h: History) -> float:
    if h.case.kind in CLASSES:
        predicted = [row.index(max(row)) for row in h.predictions[-1].tolist()]
        return mean([float(a == b) for a, b in zip(predicted, h.targets[-1].tolist(), strict=True)])
    if h.case.kind in BINARY:
        middle = 0.5 if h.case.kind == "binary-cross-entropy" else 0.0
        return mean([float((predicted > middle) == (true > 0.5)) for predicted, true in h.pairs])
    return 1 - mean([(predicted - true) ** 2 for predicted, true in h.pairs]) / mean([variance(column) for column in h.columns])


def target_rows(h: History, step: int) -> Table:
    if h.case.kind in CLASSES:
        return [[float(c == place) for place in range(h.case.width)] for c in h.targets[step].tolist()]
    return h.targets[step].double().reshape(len(h.targets[step]), -1).tolist()


def neighbour_predictions(h: History) -> tuple[list[tuple[list[float], list[float]]], int]:
    """For every new example the mean target of its nearest earlier ones and its own; and the number of all examples."""
    known: list[tuple[list[float], list[float]]] = []
    pairs, total = list[tuple[list[float], list[float]]](), 0
    for step, inputs in enumerate(h.inputs):
        batch = list(zip(inputs.double().tolist(), target_rows(h, step), strict=True))
        if len(known) >= MIN_ROWS:
            total += len(batch)
            spreads = [math.sqrt(variance(column)) for column in zip(*(row for row, _ in known), strict=True)]
            for row, target in batch:
                distances = [
                    (math.fsum(((a - b) / s) ** 2 for a, b, s in zip(row, other, spreads, strict=True)), theirs)
                    for other, theirs in known
                ]
                if min(distance for distance, _ in distances) > 0:
                    nearest = [theirs for _, theirs in sorted(distances, key=lambda pair: pair[0])[:NEIGHBOUR_COUNT]]
                    pairs.append(([mean(list(column)) for column in zip(*nearest, strict=True)], target))
        known += batch
    return pairs, total


def neighbour_correlation(h: History) -> float:
    pairs, _ = neighbour_predictions(h)
    if not pairs or h.case.comparisons > 1:
        return math.nan
    covariance, spreads = 0.0, [0.0, 0.0]
    for column in range(len(pairs[0][0])):
        a, b = [x[column] for x, _ in pairs], [y[column] for _, y in pairs]
        covariance += mean([(u - mean(a)) * (v - mean(b)) for u, v in zip(a, b, strict=True)])
        spreads = [spreads[0] + variance(a), spreads[1] + variance(b)]
    return covariance / math.sqrt(spreads[0] * spreads[1])


def unreachable(h: History) -> float:
    values = h.targets[-1].double()
    if h.case.kind == "binary-cross-entropy-with-logits":
        return mean([float(not -1e-3 <= v <= 1.001) for v in values.flatten().tolist()])
    if h.case.bounds is None or h.case.kind in CLASSES:
        return math.nan
    if h.case.sums_to_one:
        return mean([float(abs(math.fsum(row) - 1) > 0.05) for row in values.tolist()])
    flat = values.flatten().tolist()
    slack = 1e-3 * max(1.0, max(flat) - min(flat))
    return mean([float(not h.case.bounds[0] - slack <= v <= h.case.bounds[1] + slack) for v in flat])


def probability_sum(h: History) -> float:
    if h.case.kind not in CLASSES:
        return math.nan
    sums = [math.log10(math.fsum(math.exp(v) for v in row)) for row in h.predictions[-1].double().tolist()]
    return math.sqrt(mean([s**2 for s in sums]))


def neighbour_count(h: History) -> float:
    pairs, total = neighbour_predictions(h)
    return float(len(pairs)) if total and h.case.comparisons == 1 else math.nan


def seen_before(h: History) -> float:
    pairs, total = neighbour_predictions(h)
    return 1 - len(pairs) / total if total and h.case.comparisons == 1 else math.nan


NAIVE_HEAD: dict[str, Callable[[History], float]] = {
    "loss": loss,
    "constant_loss": constant_loss,
    "least_loss": least_loss,
    "score": score,
    "neighbour_correlation": neighbour_correlation,
    "neighbour_count": neighbour_count,
    "seen_before": seen_before,
    "target_low": lambda h: min(h.targets[-1].flatten().tolist()),
    "target_high": lambda h: max(h.targets[-1].flatten().tolist()),
    "output_low": lambda h: min(h.predictions[-1].flatten().tolist()),
    "output_high": lambda h: max(h.predictions[-1].flatten().tolist()),
    "output_zero_fraction": lambda h: mean([float(v == 0) for v in h.predictions[-1].flatten().tolist()]),
    "unreachable_fraction": unreachable,
    "log10_probability_sum": probability_sum,
    "comparisons": lambda h: h.case.comparisons,
}


def rms(values: list[float]) -> float:
    return math.sqrt(mean([v * v for v in values]))


def feature_sizes(inputs: Tensor) -> list[float]:
    """RMS of each feature: a column of a table, a channel of images, a place of the last dimension of sequences."""
    channel = 1 if inputs.dim() >= 4 else inputs.dim() - 1
    return sorted(rms(inputs.select(channel, c).flatten().tolist()) for c in range(inputs.shape[channel]))


def offset(inputs: Tensor) -> float:
    flat = inputs.double().flatten().tolist()
    return abs(mean(flat)) / math.sqrt(variance(flat))


NAIVE_NETWORK: dict[str, Callable[[Tensor], float]] = {
    "batch_size": lambda x: float(len(x)),
    "log10_input_rms": lambda x: math.log10(rms(x.double().flatten().tolist())),
    "log10_largest_feature": lambda x: math.log10(feature_sizes(x)[-1]),
    "log10_median_feature": lambda x: math.log10(feature_sizes(x)[(x.shape[1 if x.dim() >= 4 else -1] - 1) // 2]),
    "input_offset": offset,
}


def classes(x: Tensor) -> Tensor:
    return (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()


def amounts(x: Tensor) -> Tensor:
    return torch.stack([x[:, 0] * 1.2, x[:, 1] - x[:, 2]], 1)


def yes_or_no(x: Tensor) -> Tensor:
    return torch.stack([(x[:, 0] > 0.3).float(), (x[:, 1] > 0).float()], 1)


def shares(x: Tensor) -> Tensor:
    some = x[:, :3].abs() + 0.1
    return torch.where(x[:, :1] > 0, some / some.sum(1, keepdim=True), some)


def by_hand(kind: str) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda o, y: (y - o).abs().mean() if kind == "absolute" else ((o - y) ** 2).mean()


CASES = {
    "cross entropy": Case("cross-entropy", 3, None, F.cross_entropy, classes, prediction=lambda o: o.log_softmax(1)),
    "likelihood": Case("cross-entropy", 3, nn.LogSoftmax(1), F.nll_loss, classes),
    "likelihood of scores": Case("likelihood", 3, None, F.nll_loss, classes),
    "likelihood of probabilities": Case("likelihood", 3, nn.Softmax(1), F.nll_loss, classes),
    "squares": Case("squared", 2, None, F.mse_loss, amounts),
    "squares of tanh": Case("squared", 2, nn.Tanh(), F.mse_loss, amounts, bounds=(-1, 1)),
    "squares of relu": Case("squared", 2, nn.ReLU(), F.mse_loss, amounts, bounds=(0, math.inf)),
    "squares of softmax": Case("squared", 3, nn.Softmax(1), F.mse_loss, shares, bounds=(0, 1), sums_to_one=True),
    "squares by hand": Case("squared", 2, nn.Sigmoid(), by_hand("squared"), amounts, bounds=(0, 1)),
    "sizes": Case("absolute", 2, None, F.l1_loss, amounts),
    "sizes by hand": Case("absolute", 2, nn.Tanh(), by_hand("absolute"), amounts, bounds=(-1, 1)),
    "binary": Case("binary-cross-entropy", 2, nn.Sigmoid(), F.binary_cross_entropy, yes_or_no, bounds=(0, 1)),
    "binary with logits": Case(
        "binary-cross-entropy-with-logits", 2, None, F.binary_cross_entropy_with_logits, lambda x: 2 * yes_or_no(x) - 0.5
    ),
}


def batches() -> list[Tensor]:
    """Three batches of 25, of which the last holds seven examples of the first one."""
    torch.manual_seed(11)
    first, second, third = (torch.randn(25, 5) * torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0]) for _ in range(3))
    return [first, second, torch.cat([third[:18], first[:7]])]


@pytest.mark.parametrize("name", CASES)
def test_head_metrics_agree_with_plain_loops(name: str) -> None:
    case = CASES[name]
    histories: list[History] = []

    def train() -> None:
        network = nn.Sequential(nn.Linear(5, case.width), *([case.squash] if case.squash else []))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
        for inputs in batches():
            output, targets = network(inputs), case.targets(inputs)
            before = histories[-1] if histories else History(case)
            prediction = case.prediction(output.detach())
            histories.append(History(case, [*before.inputs, inputs], [*before.predictions, prediction], [*before.targets, targets]))
            optimizer.zero_grad()
            case.loss(output, targets).backward()
            optimizer.step()

    run = observe_training(train)
    (head,) = run.structure.heads
    assert head.criterion == case.kind
    assert head.width == case.width
    assert run.structure.parameter_label(head.parameter or 0) == "0.weight"
    for quantity, naive in NAIVE_HEAD.items():
        expected = [naive(history) for history in histories]
        np.testing.assert_allclose(run.readings[quantity][:, 0], expected, rtol=1e-4, atol=1e-5, err_msg=quantity)


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_column_broadcast_against_a_row_counts_every_comparison(by_hand: bool) -> None:
    case = Case("squared", 1, None, F.mse_loss, lambda x: x[:, 0], comparisons=20)
    history = History(case)

    def train() -> None:
        network, inputs = nn.Linear(5, 1), torch.randn(20, 5)
        output, targets = network(inputs), case.targets(inputs)
        (((output - targets) ** 2).mean() if by_hand else F.mse_loss(output, targets)).backward()
        history.inputs, history.predictions, history.targets = [inputs], [output.detach()], [targets]

    run = observe_training(train)
    assert run.readings["comparisons"].tolist() == [[20.0]]
    if not by_hand:
        assert run.readings["loss"][0, 0] == pytest.approx(loss(history), rel=1e-5)
    assert np.isnan(run.readings["neighbour_count"]).all()


@pytest.mark.parametrize("shape", [(30, 7), (12, 9, 4), (8, 3, 5, 5)], ids=["table", "sequences", "images"])
def test_input_statistics_agree_with_plain_loops(shape: tuple[int, ...]) -> None:
    torch.manual_seed(12)
    inputs = torch.randn(shape) * torch.linspace(0.1, 5, shape[-1]) + 0.7

    def train() -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape[1:]), 2))
        network(inputs).square().mean().backward()

    run = observe_training(train)
    for quantity, naive in NAIVE_NETWORK.items():
        np.testing.assert_allclose(run.readings[quantity], [[naive(inputs)]], rtol=1e-4, atol=1e-5, err_msg=quantity)


def test_every_quantity_of_networks_and_heads_has_a_naive_computation() -> None:
    assert set(NAIVE_NETWORK) == {q.name for q in quantities(Axis.NETWORK)}
    assert set(NAIVE_HEAD) == {q.name for q in quantities(Axis.HEAD)}


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_the_constant_loss_of_equal_targets_is_zero(target: float) -> None:
    def train() -> None:
        output = nn.Sequential(nn.Linear(5, 1), nn.Sigmoid())(torch.randn(40, 5))
        F.binary_cross_entropy(output, torch.full((40, 1), target)).backward()

    assert observe_training(train).readings["constant_loss"][0, 0] == pytest.approx(0.0, abs=1e-6)


def test_the_constant_loss_is_nan_where_most_classes_were_not_seen_twice() -> None:
    def train() -> None:
        F.cross_entropy(nn.Linear(5, 1000)(torch.randn(40, 5)), torch.randperm(1000)[:40]).backward()

    assert np.isnan(observe_training(train).readings["constant_loss"]).all()


@pytest.mark.parametrize("ignored", [-100, 0, 2])
def test_examples_with_the_ignored_label_are_not_counted(ignored: int) -> None:
    torch.manual_seed(13)
    scores, targets = [], torch.randint(3, (40,))
    targets[:15] = ignored

    def train() -> None:
        scores.append(nn.Linear(5, 3)(torch.randn(40, 5)))
        F.cross_entropy(scores[0], targets, ignore_index=ignored).backward()

    run = observe_training(train)
    kept = [(s, t) for s, t in zip(scores[0].detach().log_softmax(1).tolist(), targets.tolist(), strict=True) if t != ignored]
    assert run.readings["loss"][0, 0] == pytest.approx(mean([-s[t] for s, t in kept]), rel=1e-5)
    assert run.readings["score"][0, 0] == pytest.approx(mean([float(s.index(max(s)) == t) for s, t in kept]))
