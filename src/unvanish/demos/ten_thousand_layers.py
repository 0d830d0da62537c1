"""The demo "ten-thousand-layers": a plain tanh network of 10,000 layers, as it is and with the critical initialisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import nn

from unvanish.demos.demo import Demo, StepCallback, Training, TrainingResults, results_with_label
from unvanish.demos.digits import CLASSES, DATA_DESCRIPTION, DigitsSplit, load_digits_split
from unvanish.demos.seed_averages import NOT_RUN, decades_cell, format_accuracy, mean_score, score_cell, seconds_cell
from unvanish.demos.training_loop import TrainingPlan, train_on_digits
from unvanish.demos.weight_gradients import FIRST_OVER_LAST, build_gradient_profile, gradient_loss_measure, measure_weight_gradients
from unvanish.record.demo_result import DemoSummary, LineChart, LineSeries, ResultTable, TableCell, TrainingResult
from unvanish.remedies import apply
from unvanish.report.wording import numbers
from unvanish.trials.peak_memory import peak_memory_bytes

REMEDY = "critical-init"
UNTREATED, TREATED = "as it is", "critical-init"
LEARNING_RATE_TIMES_DEPTH = 0.03  # for Adam: 3e-6 at 10,000 layers; from 50 layers on, 0.02 to 0.06 was measured to work
LEARNED_ACCURACY, FAILED_ACCURACY = 0.93, 0.2
FIRST_GRADIENT, PEAK_MEMORY, PARAMETERS = "largest entry of the first weight's gradient, float32", "peak memory, GB", "parameters"
LOG10_FLOAT32_MIN = -45  # the smallest positive number in float32


@final
@dataclass(frozen=True, slots=True)
class TanhTraining(Training):
    """One network of tanh layers; with `is_treated`, initialised anew by the remedy before its training."""

    is_treated: bool
    layers: int
    width: int
    steps: int
    batch: int

    @property
    def label(self) -> str:
        """ "as it is", or the name of the remedy."""
        return TREATED if self.is_treated else UNTREATED

    @property
    def relative_cost(self) -> float:
        """Proportional to layers and steps, with the remedy and without."""
        return float(self.layers * self.steps)

    def run(self, on_step: StepCallback) -> TrainingResult:
        """Measures the gradient at every layer before training, then trains."""
        data = load_digits_split()
        network = build_deep_network(self.layers, self.width, inputs=data.images.shape[1])
        on_step(0, self.steps, math.nan)
        if self.is_treated:
            apply(network, REMEDY, inputs=data.images[: self.batch], seed=self.seed)
        log10_norms = measure_weight_gradients(network, data.images, data.labels)
        # fused: a Python loop over 20,000 small tensors takes longer than the backward pass
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE_TIMES_DEPTH / self.layers, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        measures = [*gradient_loss_measure(log10_norms), (FIRST_GRADIENT, _largest_first_gradient(network, data, self.batch))]
        plan = TrainingPlan(self.steps, score_every=max(1, self.steps // 12))
        result = train_on_digits(network, data, optimizer, plan=plan, batch_size=self.batch, on_step=on_step, schedule=schedule)
        measures += [(PEAK_MEMORY, peak_memory_bytes() / 1e9), (PARAMETERS, float(sum(p.numel() for p in network.parameters())))]
        return replace(result, measures=tuple(measures), gradient_profile=build_gradient_profile(self.label, log10_norms))


def build_deep_network(layers: int, width: int, *, inputs: int) -> nn.Sequential:
    """`layers` weighted layers in a row, with a tanh after each but the last."""
    stack: list[nn.Module] = []
    for layer in range(layers - 1):
        stack += [nn.Linear(inputs if layer == 0 else width, width), nn.Tanh()]
    return nn.Sequential(*stack, nn.Linear(width, CLASSES))


def _largest_first_gradient(network: nn.Sequential, data: DigitsSplit, batch: int) -> float:
    """The largest entry of the first weight's gradient after an ordinary float32 backward pass."""
    nn.functional.cross_entropy(network(data.images[:batch]), data.labels[:batch]).backward()
    gradient = network[0].weight.grad
    network.zero_grad()
    return float(gradient.abs().max()) if isinstance(gradient, torch.Tensor) else math.nan


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
            TanhTraining(is_treated, self.layers, self.width, self.steps, self.batch, seed=seed)
            for seed in self.seeds
            for is_treated in (False, True)
        ]

    def quick_version(self) -> Demo:
        """A tenth of the layers, half the steps."""
        return replace(self, layers=self.layers // 10, steps=self.steps // 2)

    def summarise(self, results: TrainingResults) -> DemoSummary:
        """The title compares the network with the remedy and without."""
        untreated, treated = results_with_label(results, UNTREATED), results_with_label(results, TREATED)
        before, after = mean_score(untreated), mean_score(treated)
        charts = (_build_gradient_chart(untreated, treated), _build_learning_chart(untreated, treated))
        return DemoSummary(
            claim=f"a plain tanh network of {self.layers:,} layers learns after {REMEDY}, and not without",
            claim_holds=before is not None and after is not None and before <= FAILED_ACCURACY and after >= LEARNED_ACCURACY,
            title=_write_title(self.layers, before, after),
            explanation=_write_explanation(untreated, treated),
            remedy_call=f'unvanish.apply(model, "{REMEDY}", inputs=x)',
            data_description=DATA_DESCRIPTION,
            table=_build_table(self, untreated, treated),
            line_charts=tuple(chart for chart in charts if chart.lines),
        )


def _write_title(layers: int, before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return f"{layers:,} layers: not both networks were trained to an end."
    verb = "learns" if after >= LEARNED_ACCURACY else "comes to"
    return (
        f"A plain network of {layers:,} layers, without skips or normalisation, {verb} after one remedy: {format_accuracy(after)}; "
        f"as it is, {format_accuracy(before)}."
    )


def _write_explanation(untreated: Sequence[TrainingResult], treated: Sequence[TrainingResult]) -> str:
    sentences: list[str] = []
    if (largest := _first_measure(untreated, FIRST_GRADIENT)) is not None:
        exactly = "exactly 0" if largest == 0 else f"at most {numbers.format_number(largest, 2)}"
        sentences.append(f"As it is, the gradient that reaches the first layer is {exactly} in float32")
        lost = _first_measure(untreated, FIRST_OVER_LAST)
        if lost is not None and math.isfinite(lost):
            sentences[-1] += f": {-lost:,.0f} decades are lost on the way"
    if (kept := _first_measure(treated, FIRST_OVER_LAST)) is not None:
        side = "below" if kept < 0 else "above"
        sentences.append(f"At the critical scale the first layer's is {abs(kept):.1f} decades {side} the last one's")
    return ". ".join(sentences) + "." if sentences else ""


def _first_measure(results: Sequence[TrainingResult], measure: str) -> float | None:
    return next((value for result in results if (value := result.measure(measure)) is not None), None)


def _build_table(demo: TenThousandLayers, untreated: Sequence[TrainingResult], treated: Sequence[TrainingResult]) -> ResultTable:
    def row(name: str, results: Sequence[TrainingResult]) -> tuple[TableCell, ...]:
        largest, peak = _first_measure(results, FIRST_GRADIENT), _first_measure(results, PEAK_MEMORY)
        return (
            TableCell(name),
            decades_cell(results, FIRST_OVER_LAST),
            TableCell(numbers.format_number(largest, 2), largest) if largest is not None else NOT_RUN,
            score_cell(results),
            seconds_cell(results),
            TableCell(f"{peak:.1f} GB", peak) if peak is not None else NOT_RUN,
        )

    return ResultTable(
        ("network", "decades", "first layer's\ngradient", "accuracy", "time", "memory"),
        (row(UNTREATED, untreated), row(TREATED, treated)),
        f"{demo.layers:,} layers of width {demo.width}, tanh. decades: log10 of the first weight matrix's gradient over the last "
        f"one's, before training, measured beyond what float32 holds; first layer's gradient: its largest entry in "
        f"training. accuracy: on the test images after {demo.steps} steps of "
        f"Adam at {LEARNING_RATE_TIMES_DEPTH / demo.layers:.2g}, cosine decay, batches of {demo.batch}. "
        "memory: the process's peak.",
    )


def _build_gradient_chart(untreated: Sequence[TrainingResult], treated: Sequence[TrainingResult]) -> LineChart:
    profiles = [result.gradient_profile for result in (*untreated, *treated) if result.gradient_profile is not None]
    lost, kept = _first_measure(untreated, FIRST_OVER_LAST), _first_measure(treated, FIRST_OVER_LAST)
    is_shown = lost is not None and kept is not None and lost < LOG10_FLOAT32_MIN < -abs(kept)
    title = "As it is, the gradient is gone long before the first layer; at the critical scale it gets there"
    return LineChart(
        "gradient",
        title if is_shown else "What is left of the gradient at every layer",
        "The gradient of every weight matrix before training, against that of the last layer. It comes from the right, where "
        "the loss is. Below the dotted line float32 holds nothing but zero.",
        "layer, from the input to the output",
        "log10 of the gradient, over the last layer's",
        tuple(LineSeries(profile.name, profile.positions, profile.log10_gradients) for profile in profiles),
        reference_level=("float32 ends here", LOG10_FLOAT32_MIN),
    )


def _build_learning_chart(untreated: Sequence[TrainingResult], treated: Sequence[TrainingResult]) -> LineChart:
    lines = tuple(
        LineSeries(
            name, tuple(float(point.step) for point in results[0].history), tuple(point.score for point in results[0].history)
        )
        for name, results in ((UNTREATED, untreated), (TREATED, treated))
        if results and results[0].history
    )
    after = mean_score(treated)
    return LineChart(
        "learning",
        f"It learns to name {format_accuracy(after).removesuffix(' right')} of the test images"
        if after is not None
        else "What is learned",
        "Share of the test images named rightly, by step. A guess gets 0.1.",
        "step",
        "test accuracy",
        lines,
        y_is_share=True,
    )
