"""Says which processes trained, and where they differ: in numbers that are none, weights, data, steps, and how they ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from unvanish.record.ranks.process import RankSummary
from unvanish.record.run import Run
from unvanish.report.wording import numbers

ORDERLY_ENDINGS = frozenset({"finished", "stopped"})
EQUAL_EXAMPLES = 0.05  # the last batch of an epoch is shorter, on one process before the other
MAX_NAMED = 4  # processes of one kind that are named one by one


def describe_processes(run: Run) -> str:
    """Which processes the record holds: "2 processes: rank 0 and rank 1"; "" for a training in one process.

    Example:
        >>> from unvanish.record.ranks.merge import merge_runs
        >>> from unvanish.testing import records
        >>> describe_processes(records.healthy())
        ''
    """
    ranks = run.facts.ranks
    if not ranks or (len(ranks) == 1 and ranks[0].process.world_size == 1):
        return ""
    machines = len({rank.process.host for rank in ranks})
    where = f" on {numbers.spell_count(machines)} machines" if machines > 1 else ""
    return f"{len(ranks)} {'process' if len(ranks) == 1 else 'processes'}{where}: {format_ranks(ranks)}"


def format_ranks(ranks: Sequence[RankSummary]) -> str:
    """The processes by name, those with neighbouring ranks together: "ranks 0 to 7", "rank 1 and rank 3"."""
    numbered = sorted(rank.process.rank for rank in ranks if rank.process.rank is not None)
    spans: list[list[int]] = []
    for number in numbered:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    names = [f"rank {first}" if first == last else f"ranks {first} {_link(first, last)} {last}" for first, last in spans]
    others = [rank.process.label for rank in ranks if rank.process.rank is None]
    names += others[:MAX_NAMED]
    if len(others) > MAX_NAMED:
        names.append(f"{len(others) - MAX_NAMED} more")
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def _link(first: int, last: int) -> str:
    return "and" if last == first + 1 else "to"


def list_differences(run: Run) -> tuple[str, ...]:
    """A sentence for each way in which the processes differ, and where they should but do not; nothing for a single process."""
    ranks = run.facts.ranks
    if not ranks:
        return ()
    is_group = ranks[0].process.world_size > 1
    notes = [_missing(ranks), _nonfinite(ranks), *_endings(ranks)]
    if len(ranks) > 1 and is_group:
        notes += [_weights(ranks), _same_data(run), _steps(ranks), _examples(ranks)]
    notes += [f"{rank.process.label.capitalize()}: watching was limited: {fault}" for rank in ranks[1:] for fault in rank.faults]
    return tuple(note for note in notes if note)


def _missing(ranks: Sequence[RankSummary]) -> str:
    """The ranks of the group that left no record."""
    known = {rank.process.rank for rank in ranks}
    count = ranks[0].process.world_size - len(known - {None})
    if ranks[0].process.world_size == 1 or count <= 0:
        return ""
    return (
        f"{numbers.spell_count(count).capitalize()} of the {ranks[0].process.world_size} processes left no record here: not "
        "started, ended before a step, or on a machine that does not share this folder."
    )


def _nonfinite(ranks: Sequence[RankSummary]) -> str:
    """Where numbers first were none, unless that was everywhere at once."""
    steps = [rank.first_nonfinite for rank in ranks]
    first = min((step for step in steps if step is not None), default=None)
    if first is None or len(ranks) == 1 or all(step == first for step in steps):
        return ""
    here = [rank for rank in ranks if rank.first_nonfinite == first]
    later = [rank for rank in ranks if rank.first_nonfinite is not None and rank.first_nonfinite > first]
    passed_on = f"; it has reached {format_ranks(later)} since" if later else ""
    where = _capitalised(format_ranks(here))
    return f"{where} computed NaN or infinite values first, at step {first:,}{passed_on}: look at the data there."


def _endings(ranks: Sequence[RankSummary]) -> list[str]:
    """How processes ended that did not come to their end, the earliest first."""
    lost = sorted((rank for rank in ranks if rank.ending not in ORDERLY_ENDINGS), key=lambda rank: rank.steps)
    lines = [f"{_capitalised(rank.process.label)} {_ended(rank.ending)} at step {rank.steps:,}." for rank in lost[:MAX_NAMED]]
    return lines + ([f"So did {len(lost) - MAX_NAMED} more."] if len(lost) > MAX_NAMED else [])


def _ended(ending: str) -> str:
    return "was ended from outside, or never ended," if ending == "running" else f"ended with {ending}"


def _weights(ranks: Sequence[RankSummary]) -> str:
    different = [rank for rank in ranks if rank.differs_from is not None]
    if not different:
        return ""
    earliest = min(different, key=lambda rank: rank.differs_from or 0)
    return (
        f"The processes train different weights from step {earliest.differs_from:,} on ({earliest.process.label}: "
        f"{earliest.differing_parameter}): nothing keeps them equal. Is the network wrapped in DistributedDataParallel, and called "
        "through it?"
    )


def _same_data(run: Run) -> str:
    """Where all processes had the same losses; parts of one network must, so that says nothing where weights are divided."""
    ranks = run.facts.ranks
    if not all(rank.same_losses and not rank.holds_parts for rank in ranks):
        return ""
    return (
        "Every process had the same losses to the last digit: they all train on the same examples. Give the loader a "
        "DistributedSampler, or each process a seed of its own."
    )


def _steps(ranks: Sequence[RankSummary]) -> str:
    counts = _groups(ranks, lambda rank: rank.steps)
    if len(counts) == 1:
        return ""
    return f"They made different numbers of steps: {_list_groups(counts, lambda steps: f'{steps:,}')}."


def _examples(ranks: Sequence[RankSummary]) -> str:
    sizes = [rank.examples for rank in ranks if not math.isnan(rank.examples)]
    if not sizes or max(sizes) - min(sizes) <= EQUAL_EXAMPLES * max(sizes):
        return ""
    groups = _groups([rank for rank in ranks if not math.isnan(rank.examples)], lambda rank: rank.examples)
    return f"They saw different numbers of examples in a step: {_list_groups(groups, lambda size: f'{size:,.0f}')}."


def _groups(ranks: Iterable[RankSummary], key: Callable[[RankSummary], float]) -> dict[float, list[RankSummary]]:
    groups: dict[float, list[RankSummary]] = {}
    for rank in ranks:
        groups.setdefault(key(rank), []).append(rank)
    return groups


def _list_groups(groups: dict[float, list[RankSummary]], text: Callable[[float], str]) -> str:
    largest = sorted(groups.items(), key=lambda item: -len(item[1]))[:MAX_NAMED]
    return ", ".join(f"{format_ranks(ranks)} {text(value)}" for value, ranks in largest)


def _capitalised(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"
