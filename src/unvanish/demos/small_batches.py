"""Batches of one and two images: what batch normalisation makes of them, and a normalisation that needs no batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import final

import torch
from torch import nn

from unvanish.demos.demo import Courses, Demo, Report, Training, of_each_seed
from unvanish.demos.digits import CLASSES, SPLIT_IN_WORDS, digits
from unvanish.demos.training import Plan, learn_digits, steps_of
from unvanish.demos.wording import right, score_cell, typical
from unvanish.record.demo_result import Board, Cell, Course, Ending, Marks, Panel, Sheet, Story
from unvanish.remedies import apply

RATE = 1e-3
LEARNS = 0.9
ONLINE, BATCH_NORM = "BatchNorm, then online-norm", "BatchNorm"
NETWORKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"no normalisation": (), "LayerNorm": ("layernorm",), BATCH_NORM: ("batchnorm",), ONLINE: ("batchnorm", "online-norm")}
)


@final
@dataclass(frozen=True, slots=True)
class Normalised(Training):
    """One small ReLU network, normalised by remedies, on batches of one size."""

    network: str
    batch: int
    seed_: int
    layers: int
    width: int
    epochs: float

    @property
    def label(self) -> str:
        """Network and batch."""
        return label(self.network, self.batch)

    @property
    def seed(self) -> int:
        """From which weights and the order of the images are drawn."""
        return self.seed_

    @property
    def effort(self) -> float:
        """Steps count, and little else: the network is small. Online normalisation takes examples one by one."""
        return self.epochs / self.batch * (3.0 if self.network == ONLINE else 1.0)

    def run(self, report: Report) -> Course:
        """The training; batch normalisation refuses a batch of one, which makes it fail at its first step."""
        data = digits()
        stack: list[nn.Module] = []
        for layer in range(self.layers - 1):
            stack += [nn.Linear(data.images.shape[1] if layer == 0 else self.width, self.width), nn.ReLU()]
        network = nn.Sequential(*stack, nn.Linear(self.width, CLASSES))
        for remedy in NETWORKS[self.network]:
            apply(network, remedy, inputs=data.images[:64], seed=self.seed)
        steps = steps_of(self.epochs, count=len(data.labels), batch=self.batch)
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        plan = Plan(steps, score_every=max(1, steps // 10))
        return learn_digits(network, data, optimizer, plan=plan, batch=self.batch, report=report)


def label(network: str, batch: int) -> str:
    """How a training is called."""
    return f"{network}, {_images(batch)}"


def _images(batch: int) -> str:
    return "1 image" if batch == 1 else f"{batch} images"


@final
@dataclass(frozen=True, slots=True)
class SmallBatches(Demo):
    """Four networks on batches of every size; the largest is the ordinary case."""

    batches: tuple[int, ...] = (1, 2, 32)
    seeds: tuple[int, ...] = (0, 1, 2)
    layers: int = 4
    width: int = 64
    epochs: float = 10

    def trainings(self) -> Sequence[Training]:
        """Networks times batches times seeds."""
        return [
            Normalised(network, batch, seed, self.layers, self.width, self.epochs)
            for network in NETWORKS
            for batch in self.batches
            for seed in self.seeds
        ]

    def quick(self) -> Demo:
        """One seed, fewer passes."""
        return replace(self, seeds=self.seeds[:1], epochs=self.epochs / 2)

    def tell(self, courses: Courses) -> Story:
        """The smallest batches carry the sentence."""
        found = {(name, batch): of_each_seed(courses, label(name, batch)) for name in NETWORKS for batch in self.batches}
        small = [batch for batch in self.batches if batch <= 2]
        return Story(
            claim="with batches of one and two, batch normalisation fails and online normalisation trains",
            borne_out=all(_borne_out(found, batch) for batch in small),
            title=_title(found, small),
            plain=_plain(found, small),
            call='unvanish.apply(model, "online-norm")',
            data=SPLIT_IN_WORDS,
            sheet=_sheet(self, found),
            boards=(_board(self, found, borne_out=all(_borne_out(found, batch) for batch in small)),),
        )


Found = dict[tuple[str, int], list[Course]]


def _borne_out(found: Found, batch: int) -> bool:
    online, batched = typical(found[ONLINE, batch]), found[BATCH_NORM, batch]
    refused = bool(batched) and all(course.ending is Ending.FAILED for course in batched)
    score = typical(batched)
    return online is not None and online >= LEARNS and (refused or (score is not None and score < online - 0.1))


def _title(found: Found, small: Sequence[int]) -> str:
    said: list[str] = []
    for batch in small:  # the first says in full what the others only compare
        online, batched = typical(found[ONLINE, batch]), found[BATCH_NORM, batch]
        if online is None or not batched:
            return "Small batches: not every network was trained to an end."
        score = typical(batched)
        theirs = right(score) if score is not None else "an error" if batched[0].ending is Ending.FAILED else "NaN"
        if said:
            said.append(f"with {_images(batch)}, {theirs} against {right(online)}")
        else:
            said.append(
                f"With {_images(batch)} in a batch, batch normalisation gets {theirs}, online normalisation {right(online)}"
            )
    return f"{'; '.join(said)}."


def _plain(found: Found, small: Sequence[int]) -> str:
    errors = [course.said for batch in small for course in found[BATCH_NORM, batch] if course.said]
    refusal = f' PyTorch refuses a batch of one ("{errors[0].partition(": ")[2]}").' if errors else ""
    return (
        "Batch normalisation compares the images of a batch with each other. Of two images one is always above their mean and the "
        f"other below, as far, whatever they show; of one there is nothing to compare.{refusal} Online normalisation compares each "
        "image with those before it."
    )


def _sheet(demo: SmallBatches, found: Found) -> Sheet:
    seeds = f", mean ± spread of {len(demo.seeds)} seeds" if len(demo.seeds) > 1 else ""
    return Sheet(
        ("network", *(f"{_images(batch)}\nin a batch" for batch in demo.batches)),
        tuple((Cell(name), *(score_cell(found[name, batch]) for batch in demo.batches)) for name in NETWORKS),
        f"Test accuracy after {demo.epochs:g} passes over the images{seeds}. {demo.layers} layers of width {demo.width}, ReLU, "
        f"Adam {RATE:g}; all normalisations were put in by unvanish.apply.",
    )


def _board(demo: SmallBatches, found: Found, *, borne_out: bool) -> Board:
    marks: list[Marks] = []
    for batch in demo.batches:
        cells = [score_cell(found[name, batch]) for name in NETWORKS]
        marks.append(Marks(f"{_images(batch)} in a batch", tuple(c.value for c in cells), tuple(c.spread for c in cells)))
    return Board(
        "small-batches",
        "Batch normalisation fails on the smallest batches only" if borne_out else "What each network learns from each batch",
        "Share of the test images named rightly after training with batches of each size; a guess gets 0.1. Where a mark is "
        "missing, there was nothing to score: the training ended with an error.",
        tuple(NETWORKS),
        (Panel("test accuracy", tuple(marks)),),
    )
