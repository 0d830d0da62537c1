"""Candidates as edits of the user's source: what a trial of each runs. It reads the file that builds the network, no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unvanish.errors import ScriptError, TrialError
from unvanish.patch import before_optimizer, behind_optimizer, decoded, unified, written
from unvanish.record.change import PatchContext, Plan
from unvanish.record.structure import Entry
from unvanish.record.verdict import candidate_name


@dataclass(frozen=True, slots=True)
class Candidate:
    """Remedies, and the files of the user with their edits: pairs of a path and the text that takes its place in memory.

    `variant` tells apart candidates of equal remedies. `alters_loss` tells that the loss means something else with them.
    """

    remedies: tuple[str, ...]
    edits: tuple[tuple[Path, str], ...] = ()
    variant: str = ""
    alters_loss: bool = False

    @property
    def name(self) -> str:
        """The candidate as people write it; "" for the control."""
        return candidate_name(self.remedies, self.variant)


CONTROL = Candidate(())


def candidate_in_source(plan: Plan, blueprint: PatchContext, *, rate_factor: float | None = None) -> Candidate:
    """A plan as an edit of the user's source; with a factor, the learning rate is multiplied by it besides.

    Raises TrialError where it cannot be written there, ScriptError where the source cannot be read.
    """
    texts = written(plan, blueprint, source_of, rate_factor=1.0 if rate_factor is None else rate_factor)
    if not texts:
        raise TrialError("the script has it already")
    return Candidate(plan.remedies, tuple(texts.items()), variant="" if rate_factor is None else f"x{rate_factor:g}")


def candidate_as_line(entry: Entry, remedies: Sequence[str], *, after_optimizer: bool) -> Candidate:
    """Remedies that were not planned, as one line where the optimizer is built: before that, or behind it where they alter it.

    Raises TrialError where no line can be put there, ScriptError where the source cannot be read.
    """
    path, insert = Path(entry.location.file), behind_optimizer if after_optimizer else before_optimizer
    return Candidate(tuple(remedies), ((path, insert(source_of(path), entry.location.line, entry.expression, remedies)),))


def patch_of(chosen: Candidate, folder: Path) -> str:
    """The edits as one unified diff, with paths relative to `folder` for files below it, else their bare names."""
    parts: list[str] = []
    for path, text in chosen.edits:
        real = path.resolve()
        name = real.relative_to(folder.resolve()) if real.is_relative_to(folder.resolve()) else Path(real.name)
        parts.append(unified(name.as_posix(), source_of(path), text))
    return "".join(parts)


def source_of(path: Path) -> str:
    """The text of a file of the user's. Raises ScriptError where it cannot be read."""
    try:
        return decoded(path.read_bytes(), file=str(path))
    except OSError as fault:
        raise ScriptError(f"{path} cannot be read ({fault}), and the network is built there") from fault
