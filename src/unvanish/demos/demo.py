"""The base classes of a demo: `Training`, one network trained from one seed, and `Demo`, a list of them and their summary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from unvanish.record.demo_result import DemoSummary, TrainingResult

StepCallback: TypeAlias = Callable[[int, int, float], bool]
"""Called after each step with the step, the number of steps planned and the loss; False asks the training to stop there."""


@dataclass(frozen=True, slots=True)
class Training(ABC):
    """The settings of one training of a demo. It is pickled for the process that runs it, so it holds no tensors.

    Weights, data and the order of examples are drawn from `seed`.
    """

    seed: int = field(kw_only=True)

    @property
    @abstractmethod
    def label(self) -> str:
        """The name of the training without its seed: "tanh, 30 layers, glorot-init"."""

    @property
    @abstractmethod
    def relative_cost(self) -> float:
        """How long it takes relative to the demo's other trainings, for the estimate of the time left."""

    @abstractmethod
    def run(self, on_step: StepCallback) -> TrainingResult:
        """The result of the training, run to its end or until `on_step` returns False. torch's global generator is seeded."""


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How many steps a training has made; `result` is None until it has ended."""

    training: Training
    step: int
    planned_steps: int
    loss: float
    result: TrainingResult | None = None


ProgressCallback: TypeAlias = Callable[[TrainingProgress], None]
TrainingResults: TypeAlias = "dict[Training, TrainingResult]"


class Demo(ABC):
    """One demo. Its fields are its size, so that tests run the same code with smaller networks."""

    @abstractmethod
    def trainings(self) -> Sequence[Training]:
        """All trainings, in any order; none depends on another."""

    @abstractmethod
    def summarise(self, results: TrainingResults) -> DemoSummary:
        """The summary of the results. Trainings that were not run are missing in `results`, and shown as "not run"."""

    @abstractmethod
    def quick_version(self) -> Demo:
        """The same demo with fewer and smaller trainings."""


def results_with_label(results: TrainingResults, label: str) -> list[TrainingResult]:
    """The results of the trainings with that label, one for each seed."""
    return [result for training, result in results.items() if training.label == label]
