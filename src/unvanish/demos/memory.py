"""What a recurrent network must keep in mind for 100 and 200 steps: vanilla recurrence, an LSTM, and an LSTM with a long memory."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import final

import torch
from torch import nn

from unvanish.demos.adding_problem import IN_WORDS, VARIANCE, Adder, held_out, sequences
from unvanish.demos.demo import Courses, Demo, Report, Training, of_each_seed
from unvanish.demos.training import Plan, descend, follow
from unvanish.demos.wording import NOT_RUN, mean_line, score_cell, seconds_cell, typical
from unvanish.record.demo_result import Cell, Chart, Course, Line, Profile, Sheet, Story
from unvanish.record.flow import TimeProfile
from unvanish.remedies import apply
from unvanish.report.wording import numbers
from unvanish.tracing import trace

RATE, CLIP = 2e-3, 1.0
FALLS = 0.25  # the share of the steps, the last ones, over which the rate falls to nothing: without that the error jumps about
SOLVED = 0.01  # mean squared error
AT_CHANCE = 0.8  # of the variance: what is above has learned nothing to speak of
SLOPE, HORIZON = "decades a step", "steps after which less than a thousandth is left"
VANILLA, REMEMBERING = "RNN as it is", "lstm + forget-bias"
REMEDIES: Mapping[str, tuple[str, ...]] = MappingProxyType({VANILLA: (), "lstm": ("lstm",), REMEMBERING: ("lstm", "forget-bias")})


@final
@dataclass(frozen=True, slots=True)
class Adding(Training):
    """One recurrent network on sequences of one length. It begins as a vanilla RNN; its remedies make of it what they do."""

    kind: str
    length: int
    seed_: int
    hidden: int
    steps: int
    batch: int

    @property
    def label(self) -> str:
        """Network and length."""
        return label(self.kind, self.length)

    @property
    def seed(self) -> int:
        """From which weights and sequences are drawn."""
        return self.seed_

    @property
    def effort(self) -> float:
        """An LSTM takes about three times as long."""
        return self.length * self.steps * (3.0 if REMEDIES[self.kind] else 1.0)

    def run(self, report: Report) -> Course:
        """The gradient through time at the start, then the training."""
        drawn = torch.Generator().manual_seed(self.seed)
        network = Adder(self.hidden)
        x, y = sequences(self.batch, self.length, drawn)
        if REMEDIES[self.kind]:
            apply(network, *REMEDIES[self.kind], inputs=x, seed=self.seed)
        measures, profile = _through_time(self.kind, trace(network, x, y).times)
        x_test, y_test = held_out(self.length)
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        falls_for = max(1, round(FALLS * self.steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda made: min(1.0, (self.steps - made) / falls_for))

        def step() -> float:
            x, y = sequences(self.batch, self.length, drawn)
            return descend(optimizer, nn.functional.mse_loss(network(x), y), schedule=schedule, clip=CLIP)

        def score() -> float:
            with torch.no_grad():
                return float(nn.functional.mse_loss(network(x_test), y_test))

        course = follow(Plan(self.steps, score_every=max(1, self.steps // 30)), step, score, report=report)
        return replace(course, measures=measures, profile=profile)


def label(kind: str, length: int) -> str:
    """How a training is called."""
    return f"{kind}, {length} steps"


def _through_time(name: str, times: Sequence[TimeProfile]) -> tuple[tuple[tuple[str, float], ...], Profile]:
    """How fast the gradient fades on its way back, and its size at every step back, over that at the last step."""
    time = times[0]
    sizes = time.log10_gradient_rms[::-1]
    horizon = math.inf if time.horizon is None else time.horizon
    back = tuple(float(step) for step in range(len(sizes)))
    return ((SLOPE, time.decades_per_step), (HORIZON, horizon)), Profile(name, back, tuple(size - sizes[0] for size in sizes))


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
            Adding(kind, length, seed, self.hidden, self.steps, self.batch)
            for kind in REMEDIES
            for length in self.lengths
            for seed in self.seeds
        ]

    def quick(self) -> Demo:
        """The shorter sequences, one seed."""
        return replace(self, lengths=self.lengths[:1], seeds=self.seeds[:1])

    def tell(self, courses: Courses) -> Story:
        """The longest sequences carry the sentence."""
        found = {(kind, length): of_each_seed(courses, label(kind, length)) for length in self.lengths for kind in REMEDIES}
        longest = max(self.lengths)
        return Story(
            claim="vanilla recurrence stays at the variance of the target, and an LSTM with a long memory solves the problem",
            borne_out=all(_borne_out(found, length) for length in self.lengths),
            title=_title(found[VANILLA, longest], found[REMEMBERING, longest], longest),
            plain=_plain(found[VANILLA, longest], found[REMEMBERING, longest]),
            call='unvanish.apply(model, "lstm", "forget-bias", inputs=x)',
            data=IN_WORDS,
            sheet=_sheet(self, found),
            charts=tuple(chart for chart in (_horizon(found, longest), *_learning(found, self.lengths)) if chart.lines),
        )


Found = dict[tuple[str, int], list[Course]]


def _borne_out(found: Found, length: int) -> bool:
    vanilla, remembering = typical(found[VANILLA, length]), typical(found[REMEMBERING, length])
    return vanilla is not None and remembering is not None and vanilla >= AT_CHANCE * VARIANCE and remembering < SOLVED


def _title(vanilla: Sequence[Course], remembering: Sequence[Course], length: int) -> str:
    before, after = typical(vanilla), typical(remembering)
    if before is None or after is None:
        return f"Remembering for {length} steps: not every network was trained to an end."
    said = "learns nothing" if before >= AT_CHANCE * VARIANCE else "learns some of it"
    also = "solves it" if after < SOLVED else "does better"
    return (
        f"Asked to remember over {length} steps, a vanilla recurrent network {said}: its error is {before:.3f}, and always giving "
        f"the same answer gets {VARIANCE:.3f}. An LSTM with a long memory {also}: {after:.4f}."
    )


def _plain(vanilla: Sequence[Course], remembering: Sequence[Course]) -> str:
    before, after = _mean(vanilla, HORIZON), _mean(remembering, HORIZON)
    if before is None or after is None:
        return ""
    return (
        f"Before training, a thousandth of the gradient is left {_steps(before)} back in the vanilla network: what happened "
        f"earlier cannot be blamed or praised. With the two remedies it would reach {_steps(after)} back, by its slope."
    )


def _steps(horizon: float) -> str:
    return "any number of steps" if math.isinf(horizon) else numbers.plural(round(horizon), "step")


def _mean(courses: Sequence[Course], measure: str) -> float | None:
    values = [value for course in courses if (value := course.measure(measure)) is not None]
    return statistics.fmean(values) if values else None


def _sheet(demo: Memory, found: Found) -> Sheet:
    def row(kind: str, length: int) -> tuple[Cell, ...]:
        courses = found[kind, length]
        slope, horizon = _mean(courses, SLOPE), _mean(courses, HORIZON)
        reach = "all" if horizon is not None and math.isinf(horizon) else "" if horizon is None else f"{horizon:,.0f}"
        return (
            Cell(kind),
            Cell(str(length), length),
            Cell(numbers.figure(slope, 2), slope) if slope is not None else NOT_RUN,
            Cell(reach, horizon) if reach else NOT_RUN,
            score_cell(courses, digits=4),
            seconds_cell(courses),
        )

    seeds = f", mean ± spread of {len(demo.seeds)} seeds" if len(demo.seeds) > 1 else ""
    return Sheet(
        ("network", "sequence", "decades\na step", "horizon", "error", "time"),
        tuple(row(kind, length) for kind in REMEDIES for length in demo.lengths),
        "sequence and horizon in steps. decades a step: what the gradient loses on its way back in time, before training; horizon: "
        "after so many steps less than a thousandth of it is left. error: mean squared, on 1,000 test sequences after "
        f"{demo.steps:,} steps of training{seeds}; the variance of the target is {VARIANCE:.3f}. {demo.hidden} units, "
        f"Adam {RATE:g} that falls to 0 over the last quarter, gradient clipped at {CLIP:g}, batches of {demo.batch}.",
    )


def _horizon(found: Found, length: int) -> Chart:
    profiles = [courses[0].profile for kind in REMEDIES if (courses := found[kind, length])]
    return Chart(
        "horizon",
        _reach(found[VANILLA, length], found[REMEMBERING, length]),
        f"The gradient at each of {length} steps, over that at the last one, before training. The network answers after the last "
        "step, on the left; what lies below the dotted line is less than a thousandth.",
        "steps back from the last",
        "log10 of the gradient, over the last step's",
        tuple(Line(each.name, each.at, each.log10) for each in profiles if each is not None),
        level=("a thousandth", -3.0),
    )


def _reach(vanilla: Sequence[Course], remembering: Sequence[Course]) -> str:
    before, after = _mean(vanilla, HORIZON), _mean(remembering, HORIZON)
    if before is None or after is None:
        return "How far back in time the gradient reaches"
    return f"The gradient reaches {_steps(before)} back as it is, {_steps(after)} with the two remedies"


def _learning(found: Found, lengths: Sequence[int]) -> list[Chart]:
    return [
        Chart(
            f"learning-{length}",
            f"The error while they learn, on sequences of {length} steps",
            "Mean squared error on the test sequences, mean over the seeds. Who remembers nothing stays on the dotted line.",
            "step",
            "mean squared error",
            tuple(line for kind in REMEDIES if (line := mean_line(kind, found[kind, length])) is not None),
            level=("variance of the target", VARIANCE),
        )
        for length in lengths
    ]
