"""A plan as text: the user's files with the edits of each remedy where a person would make them, and one line for the rest.

It reads through the function that it is given, runs nothing and writes no file.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unvanish.errors import ScriptError, TrialError
from unvanish.patch.apply_lines import applied_before, applied_behind, rate_scaled_behind, with_import
from unvanish.patch.draft import Draft, Unsayable
from unvanish.patch.edits import clipping, constructors, functions, insertions, optimizers, recurrence
from unvanish.patch.line_alignment import aligned
from unvanish.patch.module_calls import Births
from unvanish.patch.source.parsed_file import Project
from unvanish.patch.source.statements import parsed
from unvanish.patch.source.torch_names import put_imports
from unvanish.record.change import Edit, ModuleOrigin, PatchContext, Plan, PlanStep
from unvanish.record.structure import Entry

_FOREIGN = ("site-packages", "dist-packages")
_RATE = "learning-rate"


def written(plan: Plan, blueprint: PatchContext, read: Callable[[Path], str], *, rate_factor: float = 1.0) -> dict[Path, str]:
    """The files of the user's that the plan edits, with their new text; files that need no edit are left out.

    Each remedy is written in place where all of its edits can be said there; the others go into one `unvanish.apply` line where the
    optimizer is built. `rate_factor` multiplies the learning rate besides: that of the optimizer which the plan puts in another's
    place, where it does. A source that has the edits already stays as it is.
    Raises TrialError where neither can be done, and ScriptError where a file cannot be read.
    """
    plan, blueprint, edited = aligned(plan, _own(blueprint), read)
    project, entry, late = Project(read), blueprint.entry, _Late()
    own = [step.remedy for step in plan.steps if any(map(optimizers.exchanges, step.edits))]
    if own and rate_factor != 1.0:
        plan = replace(plan, steps=tuple(_at_rate(step, rate_factor) for step in plan.steps))
    draft = _in_place(plan, blueprint, Births(blueprint, project, edited=edited), project, late)
    if set(own) & set(late.optimizer):
        late.factor *= rate_factor
    elif not own and rate_factor != 1.0:
        draft = _scaled(draft, project, entry, rate_factor, late)
    put_imports(draft, project)
    texts = {source.path: draft.text_of(source) for source in project.known()}
    if late.any and entry is None:
        raise TrialError(
            f"{late.reasons}, and no line is known that builds an optimizer for the network, where it could be applied"
        )
    if late.any and entry is not None:
        path, line = Path(entry.location.file), entry.location.line
        if path in texts:
            line = optimizers.line_behind(project, entry, late.at_optimizer) if late.at_optimizer else line
            line += draft.lines_before(project[path], line)
        texts[path] = _with_lines(texts[path] if path in texts else read(path), line, entry.expression, late)
    for path, text in texts.items():
        parsed(text, f"the patch of {path.name} would not parse; apply it by hand")
    return {path: text for path, text in texts.items() if text != read(path)}


@dataclass(slots=True)
class _Late:
    """What could not be written in place: remedies for the network and for its optimizer, with the reasons and the edits of the
    optimizer; and a factor on the rate."""

    network: list[str] = field(default_factory=list[str])
    optimizer: list[str] = field(default_factory=list[str])
    at_optimizer: list[Edit] = field(default_factory=list[Edit])
    why: dict[str, str] = field(default_factory=dict[str, str])
    factor: float = 1.0

    @property
    def any(self) -> bool:
        """Whether there is anything."""
        return bool(self.network or self.optimizer) or self.factor != 1.0

    @property
    def reasons(self) -> str:
        """Why each could not be written in place."""
        return "; ".join(f"{name} cannot be written in place ({why})" for name, why in self.why.items())


def _own(blueprint: PatchContext) -> PatchContext:
    """The blueprint without places in files that are not the user's: of packages, and of Python itself."""
    return replace(
        blueprint,
        births=tuple(_users(birth) for birth in blueprint.births),
        others=tuple(birth for birth in blueprint.others if _users(birth).location is not None),
    )


def _users(birth: ModuleOrigin) -> ModuleOrigin:
    file = Path(birth.location.file) if birth.location is not None else None
    foreign = file is not None and (
        any(part in _FOREIGN for part in file.parts) or file.is_relative_to(sysconfig.get_path("stdlib"))
    )
    return replace(birth, location=None) if foreign else birth


# In place


def _in_place(plan: Plan, blueprint: PatchContext, births: Births, project: Project, late: _Late) -> Draft:
    """All that can be written in place. What follows a remedy that cannot be comes after it in the line: it may build on it."""
    draft = Draft()
    try:
        _open(project, blueprint)
    except ScriptError as fault:  # Python may know a syntax that the parser here does not
        for step in plan.steps:
            _put_off(step, str(fault), late)
        return draft
    for step in plan.steps:
        network, optimizer = _sides(step.edits)
        waiting = (late.network if network else []) + (late.optimizer if optimizer else [])
        if waiting:
            _put_off(step, f"it comes after {waiting[0]}", late)
            continue
        attempt = draft.copy()
        try:
            _write(attempt, project, births, blueprint.entry, network, optimizer)
        except Unsayable as why:
            _put_off(step, str(why), late)
        else:
            draft = attempt
    return draft


def _open(project: Project, blueprint: PatchContext) -> None:
    """Reads the files that a plan may touch."""
    entries = [blueprint.entry.location.file] if blueprint.entry is not None else []
    built = [birth.location.file for birth in blueprint.births if birth.location is not None]
    for file in dict.fromkeys((*entries, *built)):
        project[Path(file)]


def _sides(edits: Sequence[Edit]) -> tuple[list[Edit], list[Edit]]:
    """The edits of the network, and those of its optimizers."""
    at_optimizer = [edit for edit in edits if optimizers.is_of_optimizer(edit)]
    return [edit for edit in edits if edit not in at_optimizer], at_optimizer


def _write(
    draft: Draft, project: Project, births: Births, entry: Entry | None, network: Sequence[Edit], optimizer: Sequence[Edit]
) -> None:
    """Writes the edits of one remedy into a draft. Raises Unsayable where one of them cannot be said."""
    if not network and not optimizer:
        raise Unsayable("it says no edit")
    calls = [edit for edit in network if edit.calls]
    rest = [edit for edit in network if not edit.calls]
    unknown = [edit for edit in rest if edit.action not in ("replace", "insert", "remove") or not edit.path]
    if unknown:
        raise Unsayable(f"{unknown[0].action} at {unknown[0].path or 'the network itself'!r} has no words in a source")
    recurrent = [edit for edit in rest if recurrence.is_recurrence(edit)]
    inserted = [edit for edit in rest if edit.action == "insert"]
    replaced = [edit for edit in rest if edit not in recurrent and edit not in inserted]
    if calls:
        functions.exchange(draft, project, births, calls)
    if recurrent:
        recurrence.exchange(draft, project, births, recurrent)
    if replaced:
        constructors.exchange(draft, project, births, replaced)
    if inserted:
        insertions.insert(draft, project, births, inserted)
    if clipping.is_clipping(optimizer):
        clipping.clip(draft, project, entry, optimizer)
    elif optimizer:
        optimizers.alter(draft, project, entry, optimizer)


def _at_rate(step: PlanStep, factor: float) -> PlanStep:
    """A remedy with the learning rate of the optimizer that it puts in another's place multiplied."""
    edits = (optimizers.at_rate(edit, factor) if optimizers.exchanges(edit) else edit for edit in step.edits)
    return replace(step, edits=tuple(edits))


def _scaled(draft: Draft, project: Project, entry: Entry | None, factor: float, late: _Late) -> Draft:
    attempt = draft.copy()
    try:
        optimizers.scale_rate(attempt, project, entry, factor)
    except (Unsayable, ScriptError) as why:
        late.factor *= factor
        late.why[_RATE] = str(why)
        return draft
    return attempt


def _put_off(step: PlanStep, why: str, late: _Late) -> None:
    """Leaves a remedy to the line. Raises TrialError where it could not act there, for want of a batch."""
    late.why[step.remedy] = why
    _, optimizer = _sides(step.edits)
    if step.remedy == _RATE:
        late.factor *= _factor(step.edits, why)
        late.at_optimizer += optimizer
    elif step.needs_batch:
        raise TrialError(
            f"{step.remedy} cannot be written in place ({why}), and needs an example batch to act, which is not at hand where the "
            "optimizer is built; apply it there by hand, with inputs="
        )
    else:
        (late.optimizer if optimizer else late.network).append(step.remedy)
        late.at_optimizer += optimizer


def _factor(edits: Sequence[Edit], why: str) -> float:
    """By which factor a learning rate changes. Raises TrialError where that is not told."""
    try:
        (edit,) = edits
        before, after = (optimizers.settings_of(text)[1]["lr"] for text in (edit.before, edit.after))
        return float(str(after)) / float(str(before))
    except (Unsayable, KeyError, ValueError, ZeroDivisionError) as fault:
        raise TrialError(f"the learning rate cannot be changed in place ({why}); change it by hand") from fault


# The line


def _with_lines(text: str, line: int, expression: str, late: _Late) -> str:
    """A source with what could not be written in place, at the statement that builds the optimizer."""
    names = (*late.network, *late.optimizer)
    if late.factor != 1.0:
        text = rate_scaled_behind(text, line, expression, late.factor)
    if late.optimizer:
        text = applied_behind(text, line, expression, names)
    elif names:
        text = applied_before(text, line, expression, names)
    return with_import(text) if names else text
