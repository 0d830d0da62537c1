"""One process of a training that has several: which it is, and what is kept of it once its record is merged into the others'."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingProcess:
    """A process that trains.

    Arguments:
        process_id: as the operating system numbers it.
        host: the machine's name.
        job: equal for the processes that were started together to train one network.
        started: its place among the processes of the machine, in seconds since the epoch.
        rank: its number in the process group, None where there is none.
        world_size: how many processes the group has; 1 where there is none.
        number: its number among the processes that its parent started by `multiprocessing`; 0 for any other.
    """

    process_id: int
    host: str = ""
    job: str = ""
    started: float = 0.0
    rank: int | None = None
    world_size: int = 1
    number: int = 0

    @property
    def label(self) -> str:
        """What people call it: "rank 1", or "process 2" where it has no rank.

        Example:
            >>> TrainingProcess(4711, rank=1, world_size=4).label, TrainingProcess(4711, number=2).label
            ('rank 1', 'process 2')
        """
        if self.rank is not None:
            return f"rank {self.rank}"
        return f"process {self.number or self.process_id}"


@dataclass(frozen=True, slots=True)
class RankSummary:
    """What one process did, beside the first one of its training.

    Arguments:
        process: which it is.
        steps: the number of its last step.
        ending: how it ended, as in `Facts`; "running" where its record stops in the middle.
        examples: examples that it saw in a step, the median over its sampled steps; NaN where that is not known.
        first_nonfinite: the first step at which one of its losses, activations or gradients was no finite number; None: never.
        differs_from: the first step at which a weight, or its update, differed from the first process's; None where none did, or
            where they are not comparable, since each holds a part.
        differing_parameter: the name of the parameter that differed most then.
        same_losses: whether each of its losses was the first process's to the last digit.
        holds_parts: whether it holds parts of weights only.
        faults: what went wrong in observing it.
    """

    process: TrainingProcess
    steps: int
    ending: str
    examples: float
    first_nonfinite: int | None = None
    differs_from: int | None = None
    differing_parameter: str = ""
    same_losses: bool = False
    holds_parts: bool = False
    faults: tuple[str, ...] = ()
