"""The demo "plain-deep": fifty convolutions in a row, as they are, with tailored activations, or with BatchNorm and skips."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import final

import torch
from torch import Tensor, nn

from unvanish.demos.demo import Demo, StepCallback, Training, TrainingResults, results_with_label
from unvanish.demos.digits import CLASSES, DATA_DESCRIPTION, DigitsSplit, load_digits_split
from unvanish.demos.seed_averages import decades_cell, format_accuracy, mean_score, mean_score_line, score_cell, seconds_cell
from unvanish.demos.training_loop import TrainingPlan, count_steps, train_on_digits
from unvanish.demos.weight_gradients import FIRST_OVER_LAST, build_gradient_profile, gradient_loss_measure, measure_weight_gradients
from unvanish.record.demo_result import DemoSummary, LineChart, LineSeries, ResultTable, TableCell, TrainingResult
from unvanish.remedies import apply

IMAGE_SIDE = 8  # pixels
LEARNING_RATE = 1e-3  # 0.05 / depth, the same for all networks
BATCH = 64
FAILED_ACCURACY, LEARNED_ACCURACY = 0.3, 0.9
ACCURACY_MARGIN = 0.02  # the plain network counts as good as the one with skips if it is no further behind
UNTREATED, TAILORED, RESNET = "plain, as it is", "plain, tailored-activation", "BatchNorm and skips"
MAIN_NETWORKS = (UNTREATED, TAILORED, RESNET)
TAILORED_AVERAGED, RESNET_AVERAGED = f"{TAILORED}, averaged", f"{RESNET}, averaged"


class ResidualBlock(nn.Module):
    """Two normalised convolutions with a skip connection around them (He 2016, arXiv 1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (build_normalised_convolution(channels, channels) for _ in range(2))
        self.inner = nn.Sequential(*first, nn.ReLU(), *second)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The output, of the input's shape (batch, channels, height, width)."""
        return self.activation(x + self.inner(x))


def build_normalised_convolution(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    """A convolution and its normalisation."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels)


def build_plain_body(layers: int, channels: int) -> list[nn.Module]:
    """`layers` - 1 convolutions, each with a ReLU after it; the classifier is the last weighted layer."""
    stack: list[nn.Module] = []
    for layer in range(layers - 1):
        stack += [nn.Conv2d(1 if layer == 0 else channels, channels, 3, padding=1), nn.ReLU()]
    return stack


def build_residual_body(layers: int, channels: int) -> list[nn.Module]:
    """As many weighted layers, in residual blocks of two."""
    blocks = [ResidualBlock(channels) for _ in range((layers - 2) // 2)]
    return [*build_normalised_convolution(1, channels), nn.ReLU(), *blocks]


def build_position_head(channels: int) -> list[nn.Module]:
    """A linear classifier of every position of the image."""
    return [nn.Flatten(), nn.Linear(channels * IMAGE_SIDE * IMAGE_SIDE, CLASSES)]


def build_averaging_head(channels: int) -> list[nn.Module]:
    """A linear classifier of each channel's mean over the image, as is usual after residual blocks."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


@dataclass(frozen=True, slots=True)
class NetworkDesign:
    """The functions that build body and classifier of a network, and the remedies applied to it."""

    body: Callable[[int, int], list[nn.Module]]
    head: Callable[[int], list[nn.Module]]
    remedies: tuple[str, ...] = ()

    def build(self, layers: int, channels: int) -> nn.Sequential:
        """The network as PyTorch initialises it."""
        return nn.Sequential(*self.body(layers, channels), *self.head(channels))


NETWORKS: Mapping[str, NetworkDesign] = MappingProxyType(
    {
        UNTREATED: NetworkDesign(build_plain_body, build_position_head),
        TAILORED: NetworkDesign(build_plain_body, build_position_head, ("tailored-activation",)),
        RESNET: NetworkDesign(build_residual_body, build_position_head),
        TAILORED_AVERAGED: NetworkDesign(build_plain_body, build_averaging_head, ("tailored-activation",)),
        RESNET_AVERAGED: NetworkDesign(build_residual_body, build_averaging_head),
    }
)


@final
@dataclass(frozen=True, slots=True)
class ConvolutionalTraining(Training):
    """One convolutional network of `layers` weighted layers."""

    network: str
    layers: int
    channels: int
    epochs: int

    @property
    def label(self) -> str:
        """The network's name."""
        return self.network

    @property
    def relative_cost(self) -> float:
        """Proportional to layers and epochs; with normalisation half as long again."""
        return self.layers * self.epochs * (1.5 if NETWORKS[self.network].body is build_residual_body else 1.0)

    def run(self, on_step: StepCallback) -> TrainingResult:
        """Measures the gradient at every layer before training, then trains."""
        data = _to_images(load_digits_split())
        network = NETWORKS[self.network].build(self.layers, self.channels)
        if NETWORKS[self.network].remedies:
            apply(network, *NETWORKS[self.network].remedies, inputs=data.images[:BATCH], seed=self.seed)
        log10_norms = measure_weight_gradients(network, data.images, data.labels)
        steps = count_steps(self.epochs, examples=len(data.labels), batch_size=BATCH)
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        plan = TrainingPlan(steps, score_every=max(1, steps // 20))
        result = train_on_digits(network, data, optimizer, plan=plan, batch_size=BATCH, on_step=on_step, schedule=schedule)
        profile = build_gradient_profile(self.network, log10_norms)
        return replace(result, measures=gradient_loss_measure(log10_norms), gradient_profile=profile)


def _to_images(data: DigitsSplit) -> DigitsSplit:
    """The same with images of shape (count, 1, 8, 8)."""
    shape = (-1, 1, IMAGE_SIDE, IMAGE_SIDE)
    return DigitsSplit(data.images.reshape(shape), data.labels, data.test_images.reshape(shape), data.test_labels)


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
        return [
            ConvolutionalTraining(network, self.layers, self.channels, self.epochs, seed=seed)
            for network in NETWORKS
            for seed in self.seeds
        ]

    def quick_version(self) -> Demo:
        """One seed, half the epochs."""
        return replace(self, seeds=self.seeds[:1], epochs=max(1, self.epochs // 2))

    def summarise(self, results: TrainingResults) -> DemoSummary:
        """The title is about the three networks with the same classifier."""
        by_network = {name: results_with_label(results, name) for name in NETWORKS}
        scores = {name: mean_score(by_network[name]) for name in NETWORKS}
        charts = (_build_learning_chart(by_network, claim_holds=_claim_holds(scores)), _build_gradient_chart(by_network))
        return DemoSummary(
            claim=f"{self.layers} plain convolutions learn with tailored activations about as well as with BatchNorm and skips, "
            "and not at all as they are",
            claim_holds=_claim_holds(scores),
            title=_write_title(self.layers, scores),
            explanation=_write_explanation(by_network, scores),
            remedy_call='unvanish.apply(model, "tailored-activation", inputs=x)',
            data_description=DATA_DESCRIPTION,
            table=_build_table(self, by_network),
            line_charts=tuple(chart for chart in charts if chart.lines),
        )


MeanScores = dict[str, float | None]
ResultsByNetwork = dict[str, list[TrainingResult]]


def _claim_holds(scores: MeanScores) -> bool:
    plain, tailored, resnet = scores[UNTREATED], scores[TAILORED], scores[RESNET]
    if plain is None or tailored is None or resnet is None:
        return False
    return plain <= FAILED_ACCURACY and tailored >= max(LEARNED_ACCURACY, resnet - ACCURACY_MARGIN)


def _write_title(layers: int, scores: MeanScores) -> str:
    plain, tailored, resnet = scores[UNTREATED], scores[TAILORED], scores[RESNET]
    if plain is None or tailored is None or resnet is None:
        return f"{layers} plain layers: not every network was trained to an end."
    return (
        f"{layers} layers in a row, without skips or normalisation: {format_accuracy(plain)} as they are, "
        f"{format_accuracy(tailored)} with activations tailored to the depth; BatchNorm and skips get {format_accuracy(resnet)}."
    )


def _write_explanation(by_network: ResultsByNetwork, scores: MeanScores) -> str:
    tailored, resnet = scores[TAILORED_AVERAGED], scores[RESNET_AVERAGED]
    if tailored is None or resnet is None:
        return ""
    lost = decades_cell(by_network[UNTREATED], FIRST_OVER_LAST).value
    sentence = f"As it is, {-lost:.0f} decades of the gradient are lost before training. " if lost and math.isfinite(lost) else ""
    comparison = "it falls behind" if resnet > tailored + ACCURACY_MARGIN else "they get as far"
    return (
        f"{sentence}The remedy bends the activation just so much that all layers together neither forget an image nor shatter it, "
        "and draws weights that turn the signal without stretching it. Where the classifier sees only averages over the picture, "
        f"{comparison}: {format_accuracy(tailored)} against {format_accuracy(resnet)} with BatchNorm and skips."
    )


def _build_table(demo: PlainDeep, by_network: ResultsByNetwork) -> ResultTable:
    seeds = f", mean ± spread of {len(demo.seeds)} seeds" if len(demo.seeds) > 1 else ""
    rows = tuple(
        (TableCell(name), decades_cell(results, FIRST_OVER_LAST), score_cell(results), seconds_cell(results))
        for name, results in by_network.items()
    )
    return ResultTable(
        ("network", "decades", "accuracy", "time"),
        rows,
        f"{demo.layers} weighted layers, {demo.channels} channels, pictures of {IMAGE_SIDE} x {IMAGE_SIDE}; averaged: the "
        f"classifier reads the mean of each channel, else every position. decades: log10 of the first "
        f"weight's gradient over the last one's, before training. accuracy: on the test images after {demo.epochs} passes{seeds}. "
        f"Adam {LEARNING_RATE:g}, cosine decay, batches of {BATCH}.",
    )


def _build_learning_chart(by_network: ResultsByNetwork, *, claim_holds: bool) -> LineChart:
    return LineChart(
        "learning",
        "With tailored activations the plain network learns as the one with skips does" if claim_holds else "What is learned",
        "Share of the test images named rightly, by step, mean over the seeds. A guess gets 0.1.",
        "step",
        "test accuracy",
        tuple(line for name in MAIN_NETWORKS if (line := mean_score_line(name, by_network[name])) is not None),
        y_is_share=True,
    )


def _build_gradient_chart(by_network: ResultsByNetwork) -> LineChart:
    profiles = [results[0].gradient_profile for name in MAIN_NETWORKS if (results := by_network[name])]
    return LineChart(
        "gradient",
        "What is left of the gradient at every layer, before training",
        "The gradient of every weight, against that of the last layer. It comes from the right, where the loss is.",
        "weighted layer, from the input to the output",
        "log10 of the gradient, over the last layer's",
        tuple(LineSeries(profile.name, profile.positions, profile.log10_gradients) for profile in profiles if profile is not None),
    )
