"""What an observer needs of a journal: that it takes what is measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from unvanish.record.examination import Examination
from unvanish.record.quantities import Metric, Reading, StepMark
from unvanish.record.run import Facts
from unvanish.record.structure import ModelStructure


class JournalWriter(Protocol):
    """A `Journal`, or what stands for one until there is something to write."""

    def write(
        self,
        *,
        structure: ModelStructure | None = None,
        facts: Facts | None = None,
        examination: Examination | None = None,
        reading: Reading | None = None,
        marks: Iterable[StepMark] = (),
        metrics: Iterable[Metric] = (),
    ) -> None:
        """Writes all that is given in one transaction. Raises RecordError where that fails."""
        ...
