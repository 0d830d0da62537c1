"""The demo "activations": five activation functions at growing depth, the gradient lost before training, the accuracy after."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import final

import torch
from torch import nn

from unvanish.demos.demo import Demo, StepCallback, Training, TrainingResults, results_with_label
from unvanish.demos.digits import CLASSES, DATA_DESCRIPTION, load_digits_split
from unvanish.demos.seed_averages import decades_cell, format_accuracy, mean_measure, mean_score, score_cell
from unvanish.demos.training_loop import TrainingPlan, count_steps, train_on_digits
from unvanish.demos.weight_gradients import FIRST_OVER_LAST, gradient_loss_measure, measure_weight_gradients
from unvanish.record.demo_result import DemoSummary, ResultTable, RowChart, RowChartPanel, RowSeries, TableCell, TrainingResult
from unvanish.remedies import apply
from unvanish.report.wording import numbers

BATCH = 128
LEARNING_RATE = 1e-3
LEARNED_ACCURACY, FAILED_ACCURACY = 0.9, 0.3  # test accuracies; between them a network has learned something, but not enough
NO_REMEDY = ""


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """One kind of network: its activation, whether it is normalised, and the initialisation that suits it."""

    name: str
    activation: type[nn.Module]
    initialisation: str
    normalised: bool = False


NETWORK_KINDS: Mapping[str, NetworkKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            NetworkKind("sigmoid", nn.Sigmoid, "glorot-init"),
            NetworkKind("tanh", nn.Tanh, "glorot-init"),
            NetworkKind("ReLU", nn.ReLU, "he-init"),
            NetworkKind("ELU", nn.ELU, "he-init"),
            NetworkKind("sigmoid + BatchNorm", nn.Sigmoid, "glorot-init", normalised=True),
        )
    }
)


@final
@dataclass(frozen=True, slots=True)
class PlainNetworkTraining(Training):
    """One plain network of `layers` weighted layers. `remedy` initialises it; "" keeps PyTorch's initialisation."""

    kind: str
    layers: int
    remedy: str
    width: int
    epochs: int

    @property
    def label(self) -> str:
        """Kind, depth and initialisation."""
        return format_label(self.kind, self.layers, self.remedy)

    @property
    def relative_cost(self) -> float:
        """Proportional to layers and epochs; a normalisation costs about as much as a layer."""
        return self.layers * (1.8 if NETWORK_KINDS[self.kind].normalised else 1.0) * self.epochs

    def run(self, on_step: StepCallback) -> TrainingResult:
        """Measures the gradient before training, then trains."""
        data = load_digits_split()
        network = build_plain_network(NETWORK_KINDS[self.kind], layers=self.layers, width=self.width, inputs=data.images.shape[1])
        if self.remedy:
            apply(network, self.remedy, seed=self.seed)
        measures = gradient_loss_measure(measure_weight_gradients(network, data.images, data.labels))
        steps = count_steps(self.epochs, examples=len(data.labels), batch_size=BATCH)
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        plan = TrainingPlan(steps, score_every=max(1, steps // 5))
        result = train_on_digits(network, data, optimizer, plan=plan, batch_size=BATCH, on_step=on_step)
        return replace(result, measures=measures)


def format_label(kind: str, layers: int, remedy: str) -> str:
    """The label of a training, without its seed."""
    return f"{kind}, {layers} layers, {remedy or 'PyTorch default'}"


def build_plain_network(kind: NetworkKind, *, layers: int, width: int, inputs: int) -> nn.Sequential:
    """`layers` weighted layers in a row, with an activation after each but the last."""
    stack: list[nn.Module] = []
    for layer in range(layers - 1):
        stack.append(nn.Linear(inputs if layer == 0 else width, width))
        if kind.normalised:
            stack.append(nn.BatchNorm1d(width))
        stack.append(kind.activation())
    return nn.Sequential(*stack, nn.Linear(width, CLASSES))


@final
@dataclass(frozen=True, slots=True)
class Activations(Demo):
    """Every kind at every depth, as PyTorch initialises it and with the initialisation that suits it."""

    depths: tuple[int, ...] = (10, 30, 50)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    width: int = 64
    epochs: int = 20

    def trainings(self) -> Sequence[Training]:
        """Kinds times depths times two initialisations times seeds."""
        return [
            PlainNetworkTraining(kind.name, layers, remedy, self.width, self.epochs, seed=seed)
            for kind in NETWORK_KINDS.values()
            for layers in self.depths
            for remedy in (NO_REMEDY, kind.initialisation)
            for seed in self.seeds
        ]

    def quick_version(self) -> Demo:
        """One seed, half the epochs."""
        return replace(self, seeds=self.seeds[:1], epochs=max(1, self.epochs // 2))

    def summarise(self, results: TrainingResults) -> DemoSummary:
        """The title is about the deepest networks."""
        rows = [_KindAtDepth(kind, layers, results) for kind in NETWORK_KINDS.values() for layers in self.depths]
        deepest = [row for row in rows if row.layers == max(self.depths)]
        return DemoSummary(
            claim="without a suitable start or normalisation, deep plain networks lose their gradient and do not learn",
            claim_holds=_claim_holds(deepest),
            title=_write_title(deepest),
            explanation=_write_explanation(rows, deepest),
            remedy_call=f'unvanish.apply(model, "{_select_best_remedy(deepest)}")',
            data_description=DATA_DESCRIPTION,
            table=_build_table(rows, self),
            row_charts=(_build_chart(rows, claim_holds=_claim_holds(deepest)),),
        )


class _KindAtDepth:
    """One kind at one depth, with the results of both initialisations."""

    def __init__(self, kind: NetworkKind, layers: int, results: TrainingResults) -> None:
        self.kind, self.layers = kind, layers
        self.default = results_with_label(results, format_label(kind.name, layers, NO_REMEDY))
        self.suited = results_with_label(results, format_label(kind.name, layers, kind.initialisation))

    @property
    def name(self) -> str:
        """Kind and depth, as the label of a row in the chart."""
        return f"{self.kind.name}, {self.layers}"

    @property
    def best(self) -> float | None:
        """The mean score with the better of the two initialisations."""
        scores = [score for score in (mean_score(self.default), mean_score(self.suited)) if score is not None]
        return max(scores) if scores else None


def _claim_holds(deepest: Sequence[_KindAtDepth]) -> bool:
    """Whether unnormalised kinds fail by default, the normalised one learns, and some kind learns by initialisation alone."""
    unnormalised = [mean_score(row.default) for row in deepest if not row.kind.normalised]
    suited = [mean_score(row.suited) or 0.0 for row in deepest if not row.kind.normalised]
    normalised = [mean_score(row.default) or 0.0 for row in deepest if row.kind.normalised]
    fails = all(score is not None and score <= FAILED_ACCURACY for score in unnormalised)
    return fails and min(normalised) >= LEARNED_ACCURACY - 0.05 and max(suited) >= LEARNED_ACCURACY - 0.1


def _write_title(deepest: Sequence[_KindAtDepth]) -> str:
    unnormalised = [row for row in deepest if not row.kind.normalised]
    scores = [score for row in unnormalised if (score := mean_score(row.default)) is not None]
    if not scores:
        return "Nothing was trained to its end"
    layers = deepest[0].layers
    failed = sum(score <= FAILED_ACCURACY for score in scores)
    learned = [row for row in deepest if (row.best or 0.0) >= LEARNED_ACCURACY - 0.05]
    count = "none" if failed == len(scores) else f"only {len(scores) - failed}"
    sentence = (
        f"At {layers} layers, {count} of {numbers.spell_count(len(scores))} activation functions learn as PyTorch starts them"
    )
    if not learned:
        return f"{sentence}."
    names = ", ".join(f"{row.kind.name} {format_accuracy(row.best or 0.0)}" for row in learned)
    return f"{sentence}. With a suitable start or normalisation: {names}."


def _select_best_remedy(deepest: Sequence[_KindAtDepth]) -> str:
    """The remedy of the network that learned best."""
    best = max(deepest, key=lambda row: row.best or 0.0).kind
    return "batchnorm" if best.normalised else best.initialisation


def _write_explanation(rows: Sequence[_KindAtDepth], deepest: Sequence[_KindAtDepth]) -> str:
    measured = [(mean_measure(row.default, FIRST_OVER_LAST), mean_score(row.default)) for row in rows]
    pairs = [(decades, score) for decades, score in measured if decades is not None and score is not None]
    deepest_decades = [mean_measure(row.default, FIRST_OVER_LAST) for row in deepest]
    finite = [decades for decades in deepest_decades if decades is not None and math.isfinite(decades)]
    lost = f"At {deepest[0].layers} layers, up to {-min(finite):.0f} decades are lost at the start. " if finite else ""
    limit = max((decades for decades, score in pairs if score <= FAILED_ACCURACY), default=None)
    has_limit = limit is not None and _all_below_failed(pairs, limit)
    rule = f" No network that lost {-limit:.0f} decades or more learned." if limit is not None and has_limit else ""
    return f"{lost}The first layers then hear nothing of the network's mistakes, and stay as they were drawn.{rule}"


def _all_below_failed(pairs: Sequence[tuple[float, float]], limit: float) -> bool:
    """Whether every network that lost as many decades or more failed."""
    return all(score <= FAILED_ACCURACY for decades, score in pairs if decades <= limit)


def _build_table(rows: Sequence[_KindAtDepth], demo: Activations) -> ResultTable:
    seeds = len(demo.seeds)
    cells = tuple(
        (
            TableCell(row.kind.name),
            TableCell(str(row.layers), row.layers),
            decades_cell(row.default, FIRST_OVER_LAST),
            score_cell(row.default),
            decades_cell(row.suited, FIRST_OVER_LAST),
            score_cell(row.suited),
        )
        for row in rows
    )
    return ResultTable(
        ("network", "layers", "decades,\ndefault", "accuracy,\ndefault", "decades,\nGlorot/He", "accuracy,\nGlorot/He"),
        cells,
        f"decades: log10 of the first weight matrix's gradient over the last one's, before training. accuracy: on the test images "
        f"after {demo.epochs} passes{f', mean ± spread of {seeds} seeds' if seeds > 1 else ''}. Width {demo.width}, "
        f"Adam {LEARNING_RATE:g}, batches of {BATCH}. Glorot for sigmoid and tanh, He for ReLU and ELU.",
    )


def _build_chart(rows: Sequence[_KindAtDepth], *, claim_holds: bool) -> RowChart:
    def build_series(name: str, cells: Sequence[TableCell]) -> RowSeries:
        return RowSeries(name, tuple(cell.value for cell in cells), tuple(cell.spread for cell in cells))

    names = ("PyTorch default", "Glorot / He")
    by_initialisation = [[row.default for row in rows], [row.suited for row in rows]]
    pairs = list(zip(names, by_initialisation, strict=True))
    decades = [build_series(name, [decades_cell(r, FIRST_OVER_LAST) for r in results]) for name, results in pairs]
    scores = [build_series(name, [score_cell(r) for r in results]) for name, results in pairs]
    return RowChart(
        "activations",
        "Where the gradient is lost, nothing is learned" if claim_holds else "What is lost of the gradient, and what is learned",
        "Each row is one network and its number of layers. Left: what is lost of the gradient between the last layer and the "
        "first, before training. Right: how many test images are named rightly after it; a guess gets 0.1. "
        "Bars and circles: as PyTorch starts it. Diamonds: by Glorot or He.",
        tuple(row.name for row in rows),
        (RowChartPanel("decades of gradient", tuple(decades), in_decades=True), RowChartPanel("test accuracy", tuple(scores))),
    )
