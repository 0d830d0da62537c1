"""The demo "memory": the adding problem over 100 and 200 steps, with an RNN, an LSTM, and an LSTM with a forget-gate bias."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import final

import torch
from torch import nn

from unvanish.demos.adding_problem import DATA_DESCRIPTION, TARGET_VARIANCE, AddingNetwork, draw_sequences, draw_test_sequences
from unvanish.demos.demo import Demo, StepCallback, Training, TrainingResults, results_with_label
from unvanish.demos.seed_averages import NOT_RUN, mean_measure, mean_score, mean_score_line, score_cell, seconds_cell
from unvanish.demos.training_loop import TrainingPlan, run_training_loop, step_optimizer
from unvanish.record.demo_result import DemoSummary, GradientProfile, LineChart, LineSeries, ResultTable, TableCell, TrainingResult
from unvanish.record.gradient_flow import TimeProfile
from unvanish.remedies import apply
from unvanish.report.wording import numbers
from unvanish.tracing import trace

LEARNING_RATE, MAX_GRADIENT_NORM = 2e-3, 1.0
DECAY_FRACTION = 0.25  # of the steps, at the end, in which the learning rate falls to 0; without that the error jumps about
SOLVED_ERROR = 0.01  # mean squared error
CHANCE_FRACTION = 0.8  # of the variance of the target; a larger error means that next to nothing was learned
SLOPE, HORIZON = "decades a step", "steps after which less than a thousandth is left"
UNTREATED, TREATED = "RNN as it is", "lstm + forget-bias"
REMEDIES: Mapping[str, tuple[str, ...]] = MappingProxyType({UNTREATED: (), "lstm": ("lstm",), TREATED: ("lstm", "forget-bias")})


@final
@dataclass(frozen=True, slots=True)
class AddingTraining(Training):
    """One recurrent network on sequences of one length: a vanilla RNN to which the remedies of its kind are applied."""

    kind: str
    length: int
    hidden: int
    steps: int
    batch: int

    @property
    def label(self) -> str:
        """Kind of network and length of the sequences."""
        return format_label(self.kind, self.length)

    @property
    def relative_cost(self) -> float:
        """Proportional to length and steps; an LSTM takes about three times as long."""
        return self.length * self.steps * (3.0 if REMEDIES[self.kind] else 1.0)

    def run(self, on_step: StepCallback) -> TrainingResult:
        """Measures the gradient through time before training, then trains."""
        generator = torch.Generator().manual_seed(self.seed)
        network = AddingNetwork(self.hidden)
        x, y = draw_sequences(self.batch, self.length, generator)
        if REMEDIES[self.kind]:
            apply(network, *REMEDIES[self.kind], inputs=x, seed=self.seed)
        measures, profile = _profile_through_time(self.kind, trace(network, x, y).times)
        x_test, y_test = draw_test_sequences(self.length)
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        decay_steps = max(1, round(DECAY_FRACTION * self.steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (self.steps - step) / decay_steps))

        def train_step() -> float:
            x, y = draw_sequences(self.batch, self.length, generator)
            loss = nn.functional.mse_loss(network(x), y)
            return step_optimizer(optimizer, loss, schedule=schedule, max_gradient_norm=MAX_GRADIENT_NORM)

        def score() -> float:
            with torch.no_grad():
                return float(nn.functional.mse_loss(network(x_test), y_test))

        plan = TrainingPlan(self.steps, score_every=max(1, self.steps // 30))
        result = run_training_loop(plan, train_step, score, on_step=on_step)
        return replace(result, measures=measures, gradient_profile=profile)


def format_label(kind: str, length: int) -> str:
    """The label of a training, without its seed."""
    return f"{kind}, {length} steps"


def _profile_through_time(name: str, times: Sequence[TimeProfile]) -> tuple[tuple[tuple[str, float], ...], GradientProfile]:
    """The decades that the gradient loses a step, its horizon, and its size at every step back over that at the last step."""
    time = times[0]
    log10_rms = time.log10_gradient_rms[::-1]
    horizon = math.inf if time.horizon is None else time.horizon
    steps_back = tuple(float(step) for step in range(len(log10_rms)))
    profile = GradientProfile(name, steps_back, tuple(size - log10_rms[0] for size in log10_rms))
    return ((SLOPE, time.decades_per_step), (HORIZON, horizon)), profile


@final
@dataclass(frozen=True, slots=True)
class Memory(Demo):
    """Three networks at every length."""

    lengths: tuple[int, ...] = (100, 200)
    seeds: tuple[int, ...] = (0, 1, 2)
    hidden: int = 64
    steps: int = 2000
    batch: int = 50

    def trainings(self) -> Sequence[Training]:
        """Networks times lengths times seeds."""
        return [
            AddingTraining(kind, length, self.hidden, self.steps, self.batch, seed=seed)
            for kind in REMEDIES
            for length in self.lengths
            for seed in self.seeds
        ]

    def quick_version(self) -> Demo:
        """The shorter sequences, one seed."""
        return replace(self, lengths=self.lengths[:1], seeds=self.seeds[:1])

    def summarise(self, results: TrainingResults) -> DemoSummary:
        """The title is about the longest sequences."""
        cases = [(kind, length) for length in self.lengths for kind in REMEDIES]
        by_case = {(kind, length): results_with_label(results, format_label(kind, length)) for kind, length in cases}
        longest = max(self.lengths)
        charts = (_build_horizon_chart(by_case, longest), *_build_learning_charts(by_case, self.lengths))
        return DemoSummary(
            claim="vanilla recurrence stays at the variance of the target, and an LSTM with a long memory solves the problem",
            claim_holds=all(_claim_holds(by_case, length) for length in self.lengths),
            title=_write_title(by_case[UNTREATED, longest], by_case[TREATED, longest], longest),
            explanation=_write_explanation(by_case[UNTREATED, longest], by_case[TREATED, longest]),
            remedy_call='unvanish.apply(model, "lstm", "forget-bias", inputs=x)',
            data_description=DATA_DESCRIPTION,
            table=_build_table(self, by_case),
            line_charts=tuple(chart for chart in charts if chart.lines),
        )


ResultsByCase = dict[tuple[str, int], list[TrainingResult]]


def _claim_holds(by_case: ResultsByCase, length: int) -> bool:
    before, after = mean_score(by_case[UNTREATED, length]), mean_score(by_case[TREATED, length])
    return before is not None and after is not None and before >= CHANCE_FRACTION * TARGET_VARIANCE and after < SOLVED_ERROR


def _write_title(untreated: Sequence[TrainingResult], treated: Sequence[TrainingResult], length: int) -> str:
    before, after = mean_score(untreated), mean_score(treated)
    if before is None or after is None:
        return f"Remembering for {length} steps: not every network was trained to an end."
    before_words = "learns nothing" if before >= CHANCE_FRACTION * TARGET_VARIANCE else "learns some of it"
    after_words = "solves it" if after < SOLVED_ERROR else "does better"
    return (
        f"Asked to remember over {length} steps, a vanilla recurrent network {before_words}: its error is {before:.3f}, and always "
        f"giving the same answer gets {TARGET_VARIANCE:.3f}. An LSTM with a long memory {after_words}: {after:.4f}."
    )


def _write_explanation(untreated: Sequence[TrainingResult], treated: Sequence[TrainingResult]) -> str:
    before, after = mean_measure(untreated, HORIZON), mean_measure(treated, HORIZON)
    if before is None or after is None:
        return ""
    return (
        f"Before training, a thousandth of the gradient is left {_format_horizon(before)} back in the vanilla network: what "
        f"happened earlier cannot be blamed or praised. With the two remedies it would reach "
        f"{_format_horizon(after)} back, by its slope."
    )


def _format_horizon(horizon: float) -> str:
    return "any number of steps" if math.isinf(horizon) else numbers.pluralise(round(horizon), "step")


def _build_table(demo: Memory, by_case: ResultsByCase) -> ResultTable:
    def row(kind: str, length: int) -> tuple[TableCell, ...]:
        results = by_case[kind, length]
        slope, horizon = mean_measure(results, SLOPE), mean_measure(results, HORIZON)
        horizon_text = "all" if horizon is not None and math.isinf(horizon) else "" if horizon is None else f"{horizon:,.0f}"
        return (
            TableCell(kind),
            TableCell(str(length), length),
            TableCell(numbers.format_number(slope, 2), slope) if slope is not None else NOT_RUN,
            TableCell(horizon_text, horizon) if horizon_text else NOT_RUN,
            score_cell(results, digits=4),
            seconds_cell(results),
        )

    seeds = f", mean ± spread of {len(demo.seeds)} seeds" if len(demo.seeds) > 1 else ""
    return ResultTable(
        ("network", "sequence", "decades\na step", "horizon", "error", "time"),
        tuple(row(kind, length) for kind in REMEDIES for length in demo.lengths),
        "sequence and horizon in steps. decades a step: what the gradient loses on its way back in time, before training; horizon: "
        "after so many steps less than a thousandth of it is left. error: mean squared, on 1,000 test sequences after "
        f"{demo.steps:,} steps of training{seeds}; the variance of the target is {TARGET_VARIANCE:.3f}. {demo.hidden} units, "
        f"Adam {LEARNING_RATE:g} that falls to 0 over the last quarter, gradient clipped at {MAX_GRADIENT_NORM:g}, "
        f"batches of {demo.batch}.",
    )


def _build_horizon_chart(by_case: ResultsByCase, length: int) -> LineChart:
    profiles = [results[0].gradient_profile for kind in REMEDIES if (results := by_case[kind, length])]
    return LineChart(
        "horizon",
        _write_horizon_title(by_case[UNTREATED, length], by_case[TREATED, length]),
        f"The gradient at each of {length} steps, over that at the last one, before training. The network answers after the last "
        "step, on the left; what lies below the dotted line is less than a thousandth.",
        "steps back from the last",
        "log10 of the gradient, over the last step's",
        tuple(LineSeries(profile.name, profile.positions, profile.log10_gradients) for profile in profiles if profile is not None),
        reference_level=("a thousandth", -3.0),
    )


def _write_horizon_title(untreated: Sequence[TrainingResult], treated: Sequence[TrainingResult]) -> str:
    before, after = mean_measure(untreated, HORIZON), mean_measure(treated, HORIZON)
    if before is None or after is None:
        return "How far back in time the gradient reaches"
    return f"The gradient reaches {_format_horizon(before)} back as it is, {_format_horizon(after)} with the two remedies"


def _build_learning_charts(by_case: ResultsByCase, lengths: Sequence[int]) -> list[LineChart]:
    return [
        LineChart(
            f"learning-{length}",
            f"The error while they learn, on sequences of {length} steps",
            "Mean squared error on the test sequences, mean over the seeds. Who remembers nothing stays on the dotted line.",
            "step",
            "mean squared error",
            tuple(line for kind in REMEDIES if (line := mean_score_line(kind, by_case[kind, length])) is not None),
            reference_level=("variance of the target", TARGET_VARIANCE),
        )
        for length in lengths
    ]
