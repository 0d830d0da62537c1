"""Candidates as edits of the user's source: the text that a trial of each runs, and the patch that hands it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unvanish.errors import ScriptError, TrialError
from unvanish.patch import decode_source, edit_sources, insert_apply_after_optimizer, insert_apply_before_optimizer, unified_diff
from unvanish.record.network_changes import PatchContext, Plan
from unvanish.record.races.candidate import CONTROL, Candidate
from unvanish.record.structure import Entry


@dataclass(frozen=True, slots=True)
class EditedCandidate:
    """A candidate with the files of the user that it edits: pairs of a path and the text that takes its place in memory.

    `alters_loss` says that the loss means something else with it, so that losses cannot be compared with the control's.
    """

    candidate: Candidate
    edits: tuple[tuple[Path, str], ...] = ()
    alters_loss: bool = False

    @property
    def name(self) -> str:
        """The candidate as people write it; "" for the control."""
        return self.candidate.name


UNEDITED = EditedCandidate(CONTROL)


def edit_source(plan: Plan, context: PatchContext, *, rate_factor: float | None = None) -> EditedCandidate:
    """A plan as an edit of the user's source; with a factor, the learning rate is multiplied by it besides.

    Raises TrialError where it cannot be written there, ScriptError where the source cannot be read.
    """
    texts = edit_sources(plan, context, read_source, rate_factor=1.0 if rate_factor is None else rate_factor)
    if not texts:
        raise TrialError("the script has it already")
    return EditedCandidate(Candidate(plan.remedies, rate_factor), tuple(texts.items()))


def insert_apply_line(entry: Entry, remedies: Sequence[str], *, after_optimizer: bool) -> EditedCandidate:
    """Remedies that were not planned, as one line where the optimizer is built: before that, or behind it where they alter it.

    Raises TrialError where no line can be put there, ScriptError where the source cannot be read.
    """
    path, insert = Path(entry.location.file), insert_apply_after_optimizer if after_optimizer else insert_apply_before_optimizer
    text = insert(read_source(path), entry.location.line, entry.expression, remedies)
    return EditedCandidate(Candidate(tuple(remedies)), ((path, text),))


def write_patch(candidate: EditedCandidate, folder: Path) -> str:
    """The edits as one unified diff, with paths relative to `folder` for files below it, else their bare names."""
    parts: list[str] = []
    for path, text in candidate.edits:
        real = path.resolve()
        name = real.relative_to(folder.resolve()) if real.is_relative_to(folder.resolve()) else Path(real.name)
        parts.append(unified_diff(name.as_posix(), read_source(path), text))
    return "".join(parts)


def read_source(path: Path) -> str:
    """The text of a file of the user's. Raises ScriptError where it cannot be read."""
    try:
        return decode_source(path.read_bytes(), file=str(path))
    except OSError as fault:
        raise ScriptError(f"{path} cannot be read ({fault}), and the network is built there") from fault
