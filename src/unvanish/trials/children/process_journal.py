"""The journal of one process of a run: its file is made with the first training step, so that others leave none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import final

from unvanish.errors import RecordError
from unvanish.record.examination import Examination
from unvanish.record.quantities import Metric, Reading, StepMark
from unvanish.record.ranks.process import TrainingProcess
from unvanish.record.run import Facts
from unvanish.record.storage.file_names import RANKS_FOLDER
from unvanish.record.storage.journal import Journal
from unvanish.record.structure import ModelStructure

MAX_NAMESAKES = 1000


@final
class ProcessJournal:
    """A journal in the folder `ranks` of a run.

    Arguments:
        folder: the run's folder.
        facts: what is known of the run when the file is made.
        process: says which process this is; asked when the file is made.

    What is written before the first step is dropped.
    """

    def __init__(self, folder: Path, facts: Callable[[], Facts], process: Callable[[], TrainingProcess]) -> None:
        self._folder, self._facts, self._process = folder / RANKS_FOLDER, facts, process
        self._journal: Journal | None = None
        self.process: TrainingProcess | None = None

    @property
    def has_steps(self) -> bool:
        """Whether the process has made a training step."""
        return self._journal is not None

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
        """Writes what is given, as `Journal.write` does. Raises RecordError where the file cannot be made or written."""
        marks = tuple(marks)
        if self._journal is None:
            if reading is None and not marks:
                return
            self._journal = self._create()
        facts = None if facts is None else replace(facts, process=self.process)
        self._journal.write(
            structure=structure, facts=facts, examination=examination, reading=reading, marks=marks, metrics=metrics
        )

    def _create(self) -> Journal:
        self.process = self._process()
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as fault:
            raise RecordError(f"{self._folder}: the record of a process cannot be kept there ({fault})") from fault
        journal = self._create_file(self.process)
        journal.write(facts=replace(self._facts(), process=self.process))
        return journal

    def _create_file(self, process: TrainingProcess) -> Journal:
        """The file, named by rank or process; another process of that name, of an earlier attempt, keeps its own."""
        name = f"{process.process_id}" if process.rank is None else f"{process.rank}"
        for attempt in range(MAX_NAMESAKES):
            path = self._folder / (f"{name}-{attempt + 1}.sqlite" if attempt else f"{name}.sqlite")
            try:
                return Journal.create(path)
            except RecordError:
                if not path.exists():
                    raise
        raise RecordError(f"{self._folder}: {name} has too many records there")

    def close(self) -> None:
        """Completes the file, if there is one."""
        if self._journal is not None:
            self._journal.close()
