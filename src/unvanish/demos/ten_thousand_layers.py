"""Ten thousand layers in a row, without skips and without normalisation: as they are, and at the critical initialisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import nn

from unvanish.demos.demo import Courses, Demo, Report, Training, of_each_seed
from unvanish.demos.digits import CLASSES, SPLIT_IN_WORDS, Digits, digits
from unvanish.demos.memory_use import peak_gigabytes
from unvanish.demos.training import Plan, learn_digits
from unvanish.demos.weight_gradients import FIRST_OVER_LAST, first_over_last, profile, weight_gradients
from unvanish.demos.wording import NOT_RUN, decades_cell, right, score_cell, seconds_cell, typical
from unvanish.record.demo_result import Cell, Chart, Course, Line, Sheet, Story
from unvanish.remedies import apply
from unvanish.report.wording import numbers

REMEDY = "critical-init"
WRITTEN, CURED = "as it is", "critical-init"
RATE_TIMES_DEPTH = 0.03  # Adam's rate over the depth: 3e-6 at 10,000 layers; 0.02 to 0.06 was measured right from 50 layers on
LEARNS, FAILS = 0.93, 0.2
FIRST_GRADIENT, PEAK, PARAMETERS = "largest entry of the first weight's gradient, float32", "peak memory, GB", "parameters"
FLOAT32_FLOOR = -45  # log10 of the smallest number above zero that float32 holds


@final
@dataclass(frozen=True, slots=True)
class TanhChain(Training):
    """One chain of tanh layers. `remedied` says whether it is initialised anew before its training."""

    remedied: bool
    layers: int
    seed_: int
    width: int
    steps: int
    batch: int

    @property
    def label(self) -> str:
        """As it is, or the remedy's name."""
        return CURED if self.remedied else WRITTEN

    @property
    def seed(self) -> int:
        """From which weights and the order of the images are drawn."""
        return self.seed_

    @property
    def effort(self) -> float:
        """Both take as long."""
        return float(self.layers * self.steps)

    def run(self, report: Report) -> Course:
        """The gradient at the start, at every layer; then the training."""
        data = digits()
        network = deep(self.layers, self.width, inputs=data.images.shape[1])
        report(0, self.steps, math.nan)
        if self.remedied:
            apply(network, REMEDY, inputs=data.images[: self.batch], seed=self.seed)
        lengths = weight_gradients(network, data.images, data.labels)
        # fused: with 20,000 small tensors, one at a time in Python takes longer than the gradient
        optimizer = torch.optim.Adam(network.parameters(), RATE_TIMES_DEPTH / self.layers, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        measures = [*first_over_last(lengths), (FIRST_GRADIENT, _first_gradient(network, data, self.batch))]
        plan = Plan(self.steps, score_every=max(1, self.steps // 12))
        course = learn_digits(network, data, optimizer, plan=plan, batch=self.batch, report=report, schedule=schedule)
        measures += [(PEAK, peak_gigabytes()), (PARAMETERS, float(sum(p.numel() for p in network.parameters())))]
        return replace(course, measures=tuple(measures), profile=profile(self.label, lengths))


def deep(layers: int, width: int, *, inputs: int) -> nn.Sequential:
    """So many weighted layers in a row, a tanh behind each but the last."""
    stack: list[nn.Module] = []
    for layer in range(layers - 1):
        stack += [nn.Linear(inputs if layer == 0 else width, width), nn.Tanh()]
    return nn.Sequential(*stack, nn.Linear(width, CLASSES))


def _first_gradient(network: nn.Sequential, data: Digits, batch: int) -> float:
    """What an ordinary backward pass leaves in the first layer, as training would see it."""
    nn.functional.cross_entropy(network(data.images[:batch]), data.labels[:batch]).backward()
    found = network[0].weight.grad
    network.zero_grad()
    return float(found.abs().max()) if isinstance(found, torch.Tensor) else math.nan


@final
@dataclass(frozen=True, slots=True)
class TenThousandLayers(Demo):
    """The same network twice, on the same images in the same order, for as many steps."""

    layers: int = 10_000
    width: int = 32
    steps: int = 250
    batch: int = 128
    seeds: tuple[int, ...] = (0,)

    def trainings(self) -> Sequence[Training]:
        """With and without the remedy."""
        return [
            TanhChain(remedied, self.layers, seed, self.width, self.steps, self.batch)
            for seed in self.seeds
            for remedied in (False, True)
        ]

    def quick(self) -> Demo:
        """A thousand layers."""
        return replace(self, layers=self.layers // 10, steps=self.steps // 2)

    def tell(self, courses: Courses) -> Story:
        """What each of the two came to."""
        written, cured = of_each_seed(courses, WRITTEN), of_each_seed(courses, CURED)
        before, after = typical(written), typical(cured)
        return Story(
            claim=f"a plain tanh network of {self.layers:,} layers learns after {REMEDY}, and not without",
            borne_out=before is not None and after is not None and before <= FAILS and after >= LEARNS,
            title=_title(self.layers, before, after),
            plain=_plain(written, cured),
            call=f'unvanish.apply(model, "{REMEDY}", inputs=x)',
            data=SPLIT_IN_WORDS,
            sheet=_sheet(self, written, cured),
            charts=tuple(chart for chart in (_gradient(written, cured), _learning(written, cured)) if chart.lines),
        )


def _title(layers: int, before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return f"{layers:,} layers: not both networks were trained to an end."
    verb = "learns" if after >= LEARNS else "comes to"
    return (
        f"A plain network of {layers:,} layers, without skips or normalisation, {verb} after one remedy: {right(after)}; "
        f"as it is, {right(before)}."
    )


def _plain(written: Sequence[Course], cured: Sequence[Course]) -> str:
    said: list[str] = []
    if (grain := _first(written, FIRST_GRADIENT)) is not None:
        exactly = "exactly 0" if grain == 0 else f"at most {numbers.figure(grain, 2)}"
        said.append(f"As it is, the gradient that reaches the first layer is {exactly} in float32")
        lost = _first(written, FIRST_OVER_LAST)
        if lost is not None and math.isfinite(lost):
            said[-1] += f": {-lost:,.0f} decades are lost on the way"
    if (kept := _first(cured, FIRST_OVER_LAST)) is not None:
        side = "below" if kept < 0 else "above"
        said.append(f"At the critical scale the first layer's is {abs(kept):.1f} decades {side} the last one's")
    return ". ".join(said) + "." if said else ""


def _first(courses: Sequence[Course], measure: str) -> float | None:
    return next((value for course in courses if (value := course.measure(measure)) is not None), None)


def _sheet(demo: TenThousandLayers, written: Sequence[Course], cured: Sequence[Course]) -> Sheet:
    def row(name: str, courses: Sequence[Course]) -> tuple[Cell, ...]:
        grain, peak = _first(courses, FIRST_GRADIENT), _first(courses, PEAK)
        return (
            Cell(name),
            decades_cell(courses, FIRST_OVER_LAST),
            Cell(numbers.figure(grain, 2), grain) if grain is not None else NOT_RUN,
            score_cell(courses),
            seconds_cell(courses),
            Cell(f"{peak:.1f} GB", peak) if peak is not None else NOT_RUN,
        )

    return Sheet(
        ("network", "decades", "first layer's\ngradient", "accuracy", "time", "memory"),
        (row(WRITTEN, written), row(CURED, cured)),
        f"{demo.layers:,} layers of width {demo.width}, tanh. decades: log10 of the first weight matrix's gradient over the last "
        f"one's, before training, measured beyond what float32 holds; first layer's gradient: its largest entry in "
        f"training. accuracy: on the test images after {demo.steps} steps of Adam at {RATE_TIMES_DEPTH / demo.layers:.2g}, cosine "
        f"decay, batches of {demo.batch}. memory: the process's peak.",
    )


def _gradient(written: Sequence[Course], cured: Sequence[Course]) -> Chart:
    found = [course.profile for course in (*written, *cured) if course.profile is not None]
    lost, kept = _first(written, FIRST_OVER_LAST), _first(cured, FIRST_OVER_LAST)
    both = lost is not None and kept is not None and lost < FLOAT32_FLOOR < -abs(kept)
    dies = "As it is, the gradient is gone long before the first layer; at the critical scale it gets there"
    return Chart(
        "gradient",
        dies if both else "What is left of the gradient at every layer",
        "The gradient of every weight matrix before training, against that of the last layer. It comes from the right, where "
        "the loss is. Below the dotted line float32 holds nothing but zero.",
        "layer, from the input to the output",
        "log10 of the gradient, over the last layer's",
        tuple(Line(each.name, each.at, each.log10) for each in found),
        level=("float32 ends here", FLOAT32_FLOOR),
    )


def _learning(written: Sequence[Course], cured: Sequence[Course]) -> Chart:
    lines = tuple(
        Line(name, tuple(float(point.step) for point in courses[0].points), tuple(point.score for point in courses[0].points))
        for name, courses in ((WRITTEN, written), (CURED, cured))
        if courses and courses[0].points
    )
    after = typical(cured)
    return Chart(
        "learning",
        f"It learns to name {right(after).removesuffix(' right')} of the test images" if after is not None else "What is learned",
        "Share of the test images named rightly, by step. A guess gets 0.1.",
        "step",
        "test accuracy",
        lines,
        share=True,
    )
