"""Candidates as edits of the user's source: what a trial of each runs. It reads the file that builds the network, no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unvanish.errors import ScriptError
from unvanish.patch import before_optimizer, behind_optimizer, decoded, unified, with_rate_scaled
from unvanish.record.anatomy import Entry
from unvanish.record.verdict import spelt


@dataclass(frozen=True, slots=True)
class Treatment:
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
        return spelt(self.remedies, self.variant)


CONTROL = Treatment(())


def treatment(entry: Entry, remedies: Sequence[str], *, after_optimizer: bool) -> Treatment:
    """The remedies applied where the script builds its optimizer: before that, or behind it where they alter the optimizer.

    Raises TrialError where no line can be put there, ScriptError where the source cannot be read.
    """
    insert = behind_optimizer if after_optimizer else before_optimizer
    return _edited(entry, remedies, lambda source: insert(source, entry.location.line, entry.expression, remedies))


def rate_treatment(entry: Entry, factor: float) -> Treatment:
    """The optimizer's learning rate multiplied by a factor. Raises as `treatment` does."""
    made = _edited(
        entry, ("learning-rate",), lambda source: with_rate_scaled(source, entry.location.line, entry.expression, factor)
    )
    return replace(made, variant=f"x{factor:g}")


def patch_of(chosen: Treatment, folder: Path) -> str:
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


def _edited(entry: Entry, remedies: Sequence[str], edit: Callable[[str], str]) -> Treatment:
    path = Path(entry.location.file)
    return Treatment(tuple(remedies), ((path, edit(source_of(path))),))
