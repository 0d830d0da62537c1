"""Five activation functions in plain networks of growing depth: how much of the gradient is lost, and what is learned then."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import final

import torch
from torch import nn

from unvanish.demos.demo import Courses, Demo, Report, Training, of_each_seed
from unvanish.demos.digits import CLASSES, SPLIT_IN_WORDS, digits
from unvanish.demos.training import Plan, learn_digits, steps_of
from unvanish.demos.weight_gradients import FIRST_OVER_LAST, first_over_last, weight_gradients
from unvanish.demos.wording import decades_cell, right, score_cell, typical
from unvanish.record.demo_result import Board, Cell, Course, Marks, Panel, Sheet, Story
from unvanish.remedies import apply
from unvanish.report.wording import numbers

BATCH = 128
RATE = 1e-3
LEARNS, FAILS = 0.9, 0.3  # test accuracies between which a network has learned something, and not enough
AS_IT_IS = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of network: its activation, whether it is normalised, and the initialisation that suits it."""

    name: str
    activation: type[nn.Module]
    initialisation: str
    normalised: bool = False


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind("sigmoid", nn.Sigmoid, "glorot-init"),
            Kind("tanh", nn.Tanh, "glorot-init"),
            Kind("ReLU", nn.ReLU, "he-init"),
            Kind("ELU", nn.ELU, "he-init"),
            Kind("sigmoid + BatchNorm", nn.Sigmoid, "glorot-init", normalised=True),
        )
    }
)


@final
@dataclass(frozen=True, slots=True)
class Chain(Training):
    """One plain network of `layers` weighted layers. `remedy` initialises it; without one it stays as PyTorch made it."""

    kind: str
    layers: int
    remedy: str
    seed_: int
    width: int
    epochs: int

    @property
    def label(self) -> str:
        """Kind, depth and initialisation."""
        return label(self.kind, self.layers, self.remedy)

    @property
    def seed(self) -> int:
        """From which weights and the order of the images are drawn."""
        return self.seed_

    @property
    def effort(self) -> float:
        """Normalisation costs about as much as a layer."""
        return self.layers * (1.8 if KINDS[self.kind].normalised else 1.0) * self.epochs

    def run(self, report: Report) -> Course:
        """The gradient at the start, then the training."""
        data = digits()
        network = plain(KINDS[self.kind], layers=self.layers, width=self.width, inputs=data.images.shape[1])
        if self.remedy:
            apply(network, self.remedy, seed=self.seed)
        measures = first_over_last(weight_gradients(network, data.images, data.labels))
        steps = steps_of(self.epochs, count=len(data.labels), batch=BATCH)
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        plan = Plan(steps, score_every=max(1, steps // 5))
        course = learn_digits(network, data, optimizer, plan=plan, batch=BATCH, report=report)
        return replace(course, measures=measures)


def label(kind: str, layers: int, remedy: str) -> str:
    """How a training is called."""
    return f"{kind}, {layers} layers, {remedy or 'PyTorch default'}"


def plain(kind: Kind, *, layers: int, width: int, inputs: int) -> nn.Sequential:
    """So many weighted layers in a row, an activation behind each but the last."""
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
            Chain(kind.name, layers, remedy, seed, self.width, self.epochs)
            for kind in KINDS.values()
            for layers in self.depths
            for remedy in (AS_IT_IS, kind.initialisation)
            for seed in self.seeds
        ]

    def quick(self) -> Demo:
        """One seed, fewer passes."""
        return replace(self, seeds=self.seeds[:1], epochs=max(1, self.epochs // 2))

    def tell(self, courses: Courses) -> Story:
        """The deepest networks carry the sentence."""
        rows = [_Row(kind, layers, courses) for kind in KINDS.values() for layers in self.depths]
        deepest = [row for row in rows if row.layers == max(self.depths)]
        return Story(
            claim="without a suitable start or normalisation, deep plain networks lose their gradient and do not learn",
            borne_out=_borne_out(deepest),
            title=_title(deepest),
            plain=_plain(rows, deepest),
            call=f'unvanish.apply(model, "{_remedy(deepest)}")',
            data=SPLIT_IN_WORDS,
            sheet=_sheet(rows, self),
            boards=(_board(rows, borne_out=_borne_out(deepest)),),
        )


class _Row:
    """One kind at one depth, with the courses of both initialisations."""

    def __init__(self, kind: Kind, layers: int, courses: Courses) -> None:
        self.kind, self.layers = kind, layers
        self.default = of_each_seed(courses, label(kind.name, layers, AS_IT_IS))
        self.suited = of_each_seed(courses, label(kind.name, layers, kind.initialisation))

    @property
    def name(self) -> str:
        """Kind and depth, as on the board."""
        return f"{self.kind.name}, {self.layers}"

    @property
    def best(self) -> float | None:
        """The better of the two initialisations."""
        found = [score for score in (typical(self.default), typical(self.suited)) if score is not None]
        return max(found) if found else None


def _borne_out(deepest: Sequence[_Row]) -> bool:
    """Every kind without normalisation fails as it is; normalised sigmoid learns, and some kind does by initialisation alone."""
    bare = [typical(row.default) for row in deepest if not row.kind.normalised]
    suited = [typical(row.suited) or 0.0 for row in deepest if not row.kind.normalised]
    normalised = [typical(row.default) or 0.0 for row in deepest if row.kind.normalised]
    fails = all(score is not None and score <= FAILS for score in bare)
    return fails and min(normalised) >= LEARNS - 0.05 and max(suited) >= LEARNS - 0.1


def _title(deepest: Sequence[_Row]) -> str:
    bare = [row for row in deepest if not row.kind.normalised]
    scores = [score for row in bare if (score := typical(row.default)) is not None]
    if not scores:
        return "Nothing was trained to its end"
    layers = deepest[0].layers
    failed = sum(score <= FAILS for score in scores)
    learned = [row for row in deepest if (row.best or 0.0) >= LEARNS - 0.05]
    count = "none" if failed == len(scores) else f"only {len(scores) - failed}"
    said = f"At {layers} layers, {count} of {numbers.word(len(scores))} activation functions learn as PyTorch starts them"
    if not learned:
        return f"{said}."
    names = ", ".join(f"{row.kind.name} {right(row.best or 0.0)}" for row in learned)
    return f"{said}. With a suitable start or normalisation: {names}."


def _remedy(deepest: Sequence[_Row]) -> str:
    """What carried the network that learned best."""
    best = max(deepest, key=lambda row: row.best or 0.0).kind
    return "batchnorm" if best.normalised else best.initialisation


def _plain(rows: Sequence[_Row], deepest: Sequence[_Row]) -> str:
    worst = [v for row in deepest if (v := _mean(row.default)) is not None and math.isfinite(v)]
    lost = f"At {deepest[0].layers} layers, up to {-min(worst):.0f} decades are lost at the start. " if worst else ""
    pairs = [(v, s) for row in rows if (v := _mean(row.default)) is not None and (s := typical(row.default)) is not None]
    few = max((v for v, s in pairs if s <= FAILS), default=None)
    rule = f" No network that lost {-few:.0f} decades or more learned." if few is not None and _separates(pairs, few) else ""
    return f"{lost}The first layers then hear nothing of the network's mistakes, and stay as they were drawn.{rule}"


def _separates(pairs: Sequence[tuple[float, float]], edge: float) -> bool:
    """Whether every network that lost more than that failed."""
    return all(score <= FAILS for decades, score in pairs if decades <= edge)


def _mean(courses: Sequence[Course]) -> float | None:
    values = [value for course in courses if (value := course.measure(FIRST_OVER_LAST)) is not None]
    return statistics.fmean(values) if values else None


def _sheet(rows: Sequence[_Row], demo: Activations) -> Sheet:
    seeds = len(demo.seeds)
    lines = tuple(
        (
            Cell(row.kind.name),
            Cell(str(row.layers), row.layers),
            decades_cell(row.default, FIRST_OVER_LAST),
            score_cell(row.default),
            decades_cell(row.suited, FIRST_OVER_LAST),
            score_cell(row.suited),
        )
        for row in rows
    )
    return Sheet(
        ("network", "layers", "decades,\ndefault", "accuracy,\ndefault", "decades,\nGlorot/He", "accuracy,\nGlorot/He"),
        lines,
        f"decades: log10 of the first weight matrix's gradient over the last one's, before training. accuracy: on the test images "
        f"after {demo.epochs} passes{f', mean ± spread of {seeds} seeds' if seeds > 1 else ''}. Width {demo.width}, Adam {RATE:g}, "
        f"batches of {BATCH}. Glorot for sigmoid and tanh, He for ReLU and ELU.",
    )


def _board(rows: Sequence[_Row], *, borne_out: bool) -> Board:
    def marks(name: str, cells: Sequence[Cell]) -> Marks:
        return Marks(name, tuple(cell.value for cell in cells), tuple(cell.spread for cell in cells))

    names = ("PyTorch default", "Glorot / He")
    either = [[row.default for row in rows], [row.suited for row in rows]]
    decades = [marks(n, [decades_cell(c, FIRST_OVER_LAST) for c in courses]) for n, courses in zip(names, either, strict=True)]
    scores = [marks(n, [score_cell(c) for c in courses]) for n, courses in zip(names, either, strict=True)]
    return Board(
        "activations",
        "Where the gradient is lost, nothing is learned" if borne_out else "What is lost of the gradient, and what is learned",
        "Each row is one network and its number of layers. Left: what is lost of the gradient between the last layer and the "
        "first, before training. Right: how many test images are named rightly after it; a guess gets 0.1. "
        "Bars and circles: as PyTorch starts it. Diamonds: by Glorot or He.",
        tuple(row.name for row in rows),
        (Panel("decades of gradient", tuple(decades), decades=True), Panel("test accuracy", tuple(scores))),
    )
