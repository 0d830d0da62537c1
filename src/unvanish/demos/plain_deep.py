"""Fifty convolutions in a row: as they are, with activations tailored to the depth, and with normalisation and skips instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import final

import torch
from torch import Tensor, nn

from unvanish.demos.demo import Courses, Demo, Report, Training, of_each_seed
from unvanish.demos.digits import CLASSES, SPLIT_IN_WORDS, Digits, digits
from unvanish.demos.training import Plan, learn_digits, steps_of
from unvanish.demos.weight_gradients import FIRST_OVER_LAST, first_over_last, profile, weight_gradients
from unvanish.demos.wording import decades_cell, mean_line, right, score_cell, seconds_cell, typical
from unvanish.record.demo_result import Cell, Chart, Course, Line, Sheet, Story
from unvanish.remedies import apply

SIDE = 8  # pixels
RATE = 1e-3  # 0.05 over the depth, the same for all three
BATCH = 64
FAILS, LEARNS = 0.3, 0.9
CLOSE = 0.02  # of accuracy by which the plain network may stay behind the one with skips
PLAIN, TAILORED, RESNET = "plain, as it is", "plain, tailored-activation", "BatchNorm and skips"
SAME_HEAD = (PLAIN, TAILORED, RESNET)
TAILORED_MEAN, RESNET_MEAN = f"{TAILORED}, averaged", f"{RESNET}, averaged"


class Block(nn.Module):
    """Two normalised convolutions, and a path around them (He 2016, arXiv 1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(*normalised(channels, channels), nn.ReLU(), *normalised(channels, channels))
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, of the input's shape."""
        return self.activation(x + self.inner(x))


def normalised(before: int, after: int) -> tuple[nn.Module, ...]:
    """A convolution and its normalisation."""
    return nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)


def plain(layers: int, channels: int) -> list[nn.Module]:
    """`layers` weighted layers but the classifier: convolutions with a ReLU behind each."""
    stack: list[nn.Module] = []
    for layer in range(layers - 1):
        stack += [nn.Conv2d(1 if layer == 0 else channels, channels, 3, padding=1), nn.ReLU()]
    return stack


def residual(layers: int, channels: int) -> list[nn.Module]:
    """As many weighted layers and channels, in blocks of two with a skip around each."""
    blocks = [Block(channels) for _ in range((layers - 2) // 2)]
    return [*normalised(1, channels), nn.ReLU(), *blocks]


def whole(channels: int) -> list[nn.Module]:
    """A classifier that reads every position of the picture."""
    return [nn.Flatten(), nn.Linear(channels * SIDE * SIDE, CLASSES)]


def averaged(channels: int) -> list[nn.Module]:
    """A classifier that reads each channel's mean over the picture, as is usual behind residual blocks."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


@dataclass(frozen=True, slots=True)
class Network:
    """How body and classifier of a network are built, and which remedies are applied to it then."""

    body: Callable[[int, int], list[nn.Module]]
    head: Callable[[int], list[nn.Module]]
    remedies: tuple[str, ...] = ()

    def build(self, layers: int, channels: int) -> nn.Sequential:
        """The network as PyTorch initialises it."""
        return nn.Sequential(*self.body(layers, channels), *self.head(channels))


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        PLAIN: Network(plain, whole),
        TAILORED: Network(plain, whole, ("tailored-activation",)),
        RESNET: Network(residual, whole),
        TAILORED_MEAN: Network(plain, averaged, ("tailored-activation",)),
        RESNET_MEAN: Network(residual, averaged),
    }
)


@final
@dataclass(frozen=True, slots=True)
class Convolutions(Training):
    """One convolutional network of `layers` weighted layers."""

    network: str
    seed_: int
    layers: int
    channels: int
    epochs: int

    @property
    def label(self) -> str:
        """The network's name."""
        return self.network

    @property
    def seed(self) -> int:
        """From which weights and the order of the images are drawn."""
        return self.seed_

    @property
    def effort(self) -> float:
        """Normalisation takes half as long again."""
        return self.layers * self.epochs * (1.5 if NETWORKS[self.network].body is residual else 1.0)

    def run(self, report: Report) -> Course:
        """The gradient at the start, at every layer; then the training."""
        data = _pictures(digits())
        network = NETWORKS[self.network].build(self.layers, self.channels)
        if NETWORKS[self.network].remedies:
            apply(network, *NETWORKS[self.network].remedies, inputs=data.images[:BATCH], seed=self.seed)
        lengths = weight_gradients(network, data.images, data.labels)
        steps = steps_of(self.epochs, count=len(data.labels), batch=BATCH)
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        plan = Plan(steps, score_every=max(1, steps // 20))
        course = learn_digits(network, data, optimizer, plan=plan, batch=BATCH, report=report, schedule=schedule)
        return replace(course, measures=first_over_last(lengths), profile=profile(self.network, lengths))


def _pictures(data: Digits) -> Digits:
    """The images as pictures of one channel."""
    shape = (-1, 1, SIDE, SIDE)
    return Digits(data.images.reshape(shape), data.labels, data.test_images.reshape(shape), data.test_labels)


@final
@dataclass(frozen=True, slots=True)
class PlainDeep(Demo):
    """Networks of the same depth and width, trained alike: three with one classifier, two of them with another."""

    layers: int = 50
    channels: int = 16
    epochs: int = 20
    seeds: tuple[int, ...] = (0, 1, 2)

    def trainings(self) -> Sequence[Training]:
        """Networks times seeds."""
        return [Convolutions(network, seed, self.layers, self.channels, self.epochs) for network in NETWORKS for seed in self.seeds]

    def quick(self) -> Demo:
        """One seed, half the passes."""
        return replace(self, seeds=self.seeds[:1], epochs=max(1, self.epochs // 2))

    def tell(self, courses: Courses) -> Story:
        """The three with the same classifier carry the sentence."""
        found = {name: of_each_seed(courses, name) for name in NETWORKS}
        scores = {name: typical(found[name]) for name in NETWORKS}
        return Story(
            claim=f"{self.layers} plain convolutions learn with tailored activations about as well as with BatchNorm and skips, "
            "and not at all as they are",
            borne_out=_borne_out(scores),
            title=_title(self.layers, scores),
            plain=_plain(found, scores),
            call='unvanish.apply(model, "tailored-activation", inputs=x)',
            data=SPLIT_IN_WORDS,
            sheet=_sheet(self, found),
            charts=tuple(chart for chart in (_learning(found, borne_out=_borne_out(scores)), _gradient(found)) if chart.lines),
        )


Scores = dict[str, float | None]


def _borne_out(scores: Scores) -> bool:
    plain_, tailored, resnet = scores[PLAIN], scores[TAILORED], scores[RESNET]
    if plain_ is None or tailored is None or resnet is None:
        return False
    return plain_ <= FAILS and tailored >= max(LEARNS, resnet - CLOSE)


def _title(layers: int, scores: Scores) -> str:
    plain_, tailored, resnet = scores[PLAIN], scores[TAILORED], scores[RESNET]
    if plain_ is None or tailored is None or resnet is None:
        return f"{layers} plain layers: not every network was trained to an end."
    return (
        f"{layers} layers in a row, without skips or normalisation: {right(plain_)} as they are, {right(tailored)} with "
        f"activations tailored to the depth; BatchNorm and skips get {right(resnet)}."
    )


def _plain(found: Mapping[str, Sequence[Course]], scores: Scores) -> str:
    tailored, resnet = scores[TAILORED_MEAN], scores[RESNET_MEAN]
    if tailored is None or resnet is None:
        return ""
    lost = decades_cell(found[PLAIN], FIRST_OVER_LAST).value
    gone = f"As it is, {-lost:.0f} decades of the gradient are lost before training. " if lost and math.isfinite(lost) else ""
    other = "it falls behind" if resnet > tailored + CLOSE else "they get as far"
    return (
        f"{gone}The remedy bends the activation just so much that all layers together neither forget an image nor shatter it, "
        "and draws weights that turn the signal without stretching it. Where the classifier sees only averages over the picture, "
        f"{other}: {right(tailored)} against {right(resnet)} with BatchNorm and skips."
    )


def _sheet(demo: PlainDeep, found: Mapping[str, Sequence[Course]]) -> Sheet:
    seeds = f", mean ± spread of {len(demo.seeds)} seeds" if len(demo.seeds) > 1 else ""
    rows = tuple(
        (Cell(name), decades_cell(courses, FIRST_OVER_LAST), score_cell(courses), seconds_cell(courses))
        for name, courses in found.items()
    )
    return Sheet(
        ("network", "decades", "accuracy", "time"),
        rows,
        f"{demo.layers} weighted layers, {demo.channels} channels, pictures of {SIDE} x {SIDE}; averaged: the "
        f"classifier reads the mean of each channel, else every position. decades: log10 of the first "
        f"weight's gradient over the last one's, before training. accuracy: on the test images after {demo.epochs} passes{seeds}. "
        f"Adam {RATE:g}, cosine decay, batches of {BATCH}.",
    )


def _learning(found: Mapping[str, Sequence[Course]], *, borne_out: bool) -> Chart:
    return Chart(
        "learning",
        "With tailored activations the plain network learns as the one with skips does" if borne_out else "What is learned",
        "Share of the test images named rightly, by step, mean over the seeds. A guess gets 0.1.",
        "step",
        "test accuracy",
        tuple(line for name, courses in found.items() if name in SAME_HEAD and (line := mean_line(name, courses)) is not None),
        share=True,
    )


def _gradient(found: Mapping[str, Sequence[Course]]) -> Chart:
    profiles = [courses[0].profile for name, courses in found.items() if name in SAME_HEAD and courses]
    return Chart(
        "gradient",
        "What is left of the gradient at every layer, before training",
        "The gradient of every weight, against that of the last layer. It comes from the right, where the loss is.",
        "weighted layer, from the input to the output",
        "log10 of the gradient, over the last layer's",
        tuple(Line(each.name, each.at, each.log10) for each in profiles if each is not None),
    )
