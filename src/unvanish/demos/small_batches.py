"""The demo "small-batches": batch normalisation and online normalisation on batches of one and two images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import final

import torch
from torch import nn

from unvanish.demos.demo import Demo, StepCallback, Training, TrainingResults, results_with_label
from unvanish.demos.digits import CLASSES, DATA_DESCRIPTION, load_digits_split
from unvanish.demos.seed_averages import format_accuracy, mean_score, score_cell
from unvanish.demos.training_loop import TrainingPlan, count_steps, train_on_digits
from unvanish.record.demo_result import (
    DemoSummary,
    ResultTable,
    RowChart,
    RowChartPanel,
    RowSeries,
    TableCell,
    TrainingEnding,
    TrainingResult,
)
from unvanish.remedies import apply

LEARNING_RATE = 1e-3
LEARNED_ACCURACY = 0.9
ONLINE, BATCH_NORM = "BatchNorm, then online-norm", "BatchNorm"
NETWORKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"no normalisation": (), "LayerNorm": ("layernorm",), BATCH_NORM: ("batchnorm",), ONLINE: ("batchnorm", "online-norm")}
)


@final
@dataclass(frozen=True, slots=True)
class NormalisedTraining(Training):
    """One small ReLU network, normalised by remedies, on batches of one size."""

    network: str
    batch: int
    layers: int
    width: int
    epochs: float

    @property
    def label(self) -> str:
        """Network and batch size."""
        return format_label(self.network, self.batch)

    @property
    def relative_cost(self) -> float:
        """Proportional to the number of steps, as the network is small; online normalisation takes examples one by one."""
        return self.epochs / self.batch * (3.0 if self.network == ONLINE else 1.0)

    def run(self, on_step: StepCallback) -> TrainingResult:
        """Trains; batch normalisation raises an error at the first step where a batch has one example."""
        data = load_digits_split()
        stack: list[nn.Module] = []
        for layer in range(self.layers - 1):
            stack += [nn.Linear(data.images.shape[1] if layer == 0 else self.width, self.width), nn.ReLU()]
        network = nn.Sequential(*stack, nn.Linear(self.width, CLASSES))
        for remedy in NETWORKS[self.network]:
            apply(network, remedy, inputs=data.images[:64], seed=self.seed)
        steps = count_steps(self.epochs, examples=len(data.labels), batch_size=self.batch)
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        plan = TrainingPlan(steps, score_every=max(1, steps // 10))
        return train_on_digits(network, data, optimizer, plan=plan, batch_size=self.batch, on_step=on_step)


def format_label(network: str, batch: int) -> str:
    """The label of a training, without its seed."""
    return f"{network}, {_format_images(batch)}"


def _format_images(batch: int) -> str:
    return "1 image" if batch == 1 else f"{batch} images"


@final
@dataclass(frozen=True, slots=True)
class SmallBatches(Demo):
    """Four networks on batches of every size; the largest size is the ordinary case."""

    batches: tuple[int, ...] = (1, 2, 32)
    seeds: tuple[int, ...] = (0, 1, 2)
    layers: int = 4
    width: int = 64
    epochs: float = 10

    def trainings(self) -> Sequence[Training]:
        """Networks times batches times seeds."""
        return [
            NormalisedTraining(network, batch, self.layers, self.width, self.epochs, seed=seed)
            for network in NETWORKS
            for batch in self.batches
            for seed in self.seeds
        ]

    def quick_version(self) -> Demo:
        """One seed, half the epochs."""
        return replace(self, seeds=self.seeds[:1], epochs=self.epochs / 2)

    def summarise(self, results: TrainingResults) -> DemoSummary:
        """The title is about batches of one and two."""
        cases = [(name, batch) for name in NETWORKS for batch in self.batches]
        by_case = {(name, batch): results_with_label(results, format_label(name, batch)) for name, batch in cases}
        small_sizes = [batch for batch in self.batches if batch <= 2]
        claim_holds = all(_claim_holds(by_case, batch) for batch in small_sizes)
        return DemoSummary(
            claim="with batches of one and two, batch normalisation fails and online normalisation trains",
            claim_holds=claim_holds,
            title=_write_title(by_case, small_sizes),
            explanation=_write_explanation(by_case, small_sizes),
            remedy_call='unvanish.apply(model, "online-norm")',
            data_description=DATA_DESCRIPTION,
            table=_build_table(self, by_case),
            row_charts=(_build_chart(self, by_case, claim_holds=claim_holds),),
        )


ResultsByCase = dict[tuple[str, int], list[TrainingResult]]


def _claim_holds(by_case: ResultsByCase, batch: int) -> bool:
    online, batch_norm_results = mean_score(by_case[ONLINE, batch]), by_case[BATCH_NORM, batch]
    refused = bool(batch_norm_results) and all(result.ending is TrainingEnding.FAILED for result in batch_norm_results)
    score = mean_score(batch_norm_results)
    return online is not None and online >= LEARNED_ACCURACY and (refused or (score is not None and score < online - 0.1))


def _write_title(by_case: ResultsByCase, small_sizes: Sequence[int]) -> str:
    clauses: list[str] = []
    for batch in small_sizes:  # the first clause is a whole sentence, the others only compare
        online, batch_norm_results = mean_score(by_case[ONLINE, batch]), by_case[BATCH_NORM, batch]
        if online is None or not batch_norm_results:
            return "Small batches: not every network was trained to an end."
        score = mean_score(batch_norm_results)
        batch_norm = (
            format_accuracy(score)
            if score is not None
            else "an error"
            if batch_norm_results[0].ending is TrainingEnding.FAILED
            else "NaN"
        )
        if clauses:
            clauses.append(f"with {_format_images(batch)}, {batch_norm} against {format_accuracy(online)}")
        else:
            clauses.append(
                f"With {_format_images(batch)} in a batch, batch normalisation gets {batch_norm}, "
                f"online normalisation {format_accuracy(online)}"
            )
    return f"{'; '.join(clauses)}."


def _write_explanation(by_case: ResultsByCase, small_sizes: Sequence[int]) -> str:
    errors = [result.error for batch in small_sizes for result in by_case[BATCH_NORM, batch] if result.error]
    refusal = f' PyTorch refuses a batch of one ("{errors[0].partition(": ")[2]}").' if errors else ""
    return (
        "Batch normalisation compares the images of a batch with each other. Of two images one is always above their mean and the "
        f"other below, as far, whatever they show; of one there is nothing to compare.{refusal} Online normalisation compares each "
        "image with those before it."
    )


def _build_table(demo: SmallBatches, by_case: ResultsByCase) -> ResultTable:
    seeds = f", mean ± spread of {len(demo.seeds)} seeds" if len(demo.seeds) > 1 else ""
    return ResultTable(
        ("network", *(f"{_format_images(batch)}\nin a batch" for batch in demo.batches)),
        tuple((TableCell(name), *(score_cell(by_case[name, batch]) for batch in demo.batches)) for name in NETWORKS),
        f"Test accuracy after {demo.epochs:g} passes over the images{seeds}. {demo.layers} layers of width {demo.width}, ReLU, "
        f"Adam {LEARNING_RATE:g}; all normalisations were put in by unvanish.apply.",
    )


def _build_chart(demo: SmallBatches, by_case: ResultsByCase, *, claim_holds: bool) -> RowChart:
    series: list[RowSeries] = []
    for batch in demo.batches:
        cells = [score_cell(by_case[name, batch]) for name in NETWORKS]
        name = f"{_format_images(batch)} in a batch"
        series.append(RowSeries(name, tuple(cell.value for cell in cells), tuple(cell.spread for cell in cells)))
    return RowChart(
        "small-batches",
        "Batch normalisation fails on the smallest batches only" if claim_holds else "What each network learns from each batch",
        "Share of the test images named rightly after training with batches of each size; a guess gets 0.1. Where a mark is "
        "missing, there was nothing to score: the training ended with an error.",
        tuple(NETWORKS),
        (RowChartPanel("test accuracy", tuple(series)),),
    )
