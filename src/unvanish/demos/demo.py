"""What a demo is: a list of trainings, and a story that is told from what came of them. Nothing here trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from unvanish.record.demo_result import Course, Story

Report: TypeAlias = Callable[[int, int, float], bool]
"""Takes the step, the number of steps planned and the loss; False asks the training to end where it stands."""


class Training(ABC):
    """One training of a demo: one network, one seed. It travels to the process that runs it, so it holds settings, no tensors."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Which training it is, in words, without the seed: "tanh, 30 layers, glorot-init"."""

    @property
    @abstractmethod
    def seed(self) -> int:
        """From which all its chance is drawn."""

    @property
    @abstractmethod
    def effort(self) -> float:
        """How long it takes compared with the demo's other trainings, for the estimate of the time left."""

    @abstractmethod
    def run(self, report: Report) -> Course:
        """The training, to its end or until `report` says so. torch's global generator is seeded and is its own."""


@dataclass(frozen=True, slots=True)
class News:
    """How far a training is; `course` is there once it has ended."""

    training: Training
    step: int
    planned: int
    loss: float
    course: Course | None = None


Progress: TypeAlias = Callable[[News], None]
Courses: TypeAlias = "dict[Training, Course]"


class Demo(ABC):
    """One demo. Its fields are its size, so that the same code runs in a test and before an audience."""

    @abstractmethod
    def trainings(self) -> Sequence[Training]:
        """All trainings, in any order; none depends on another."""

    @abstractmethod
    def tell(self, courses: Courses) -> Story:
        """What came of them. Trainings that were not run are not in `courses`, and the story says so."""

    @abstractmethod
    def quick(self) -> Demo:
        """The same with less of everything, for a first impression."""


def of_each_seed(courses: Courses, label: str) -> list[Course]:
    """The courses of the trainings with that label, one a seed."""
    return [course for training, course in courses.items() if training.label == label]
