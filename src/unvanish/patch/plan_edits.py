"""Writes a plan into the user's source files: the edits of each remedy in place, and one `unvanish.apply` line for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unvanish.errors import ScriptError, TrialError
from unvanish.patch.apply_call_line import add_apply_after, add_apply_before, add_import, add_rate_scaling_after
from unvanish.patch.apply_where_built import apply_where_built
from unvanish.patch.constructor_calls import ModuleOrigins
from unvanish.patch.edits import (
    functional_calls,
    initialisation,
    input_modules,
    insertions,
    module_constructors,
    network_output,
    reassignments,
    recurrence,
    residual_blocks,
)
from unvanish.patch.edits.training import clipping, loss_scaling, optimizers, training_steps
from unvanish.patch.edits.written_definitions import add_definitions, request_imports
from unvanish.patch.line_alignment import align_lines
from unvanish.patch.source.parsed_file import Project
from unvanish.patch.source.statements import parse_source
from unvanish.patch.source.torch_names import add_imports
from unvanish.patch.text_replacements import Draft, NotExpressible
from unvanish.project_files import ProjectFiles
from unvanish.record.network_changes import Edit, EditTarget, ModuleOrigin, PatchContext, Plan, PlanStep
from unvanish.record.structure import Entry

_LEARNING_RATE = "learning-rate"
_FORGET_BIAS = "forget-bias"


def edit_sources(plan: Plan, context: PatchContext, read: Callable[[Path], str], *, rate_factor: float = 1.0) -> dict[Path, str]:
    """The new text of each file that the plan edits, as `unvanish.patch.edit_sources` describes it."""
    project_files = ProjectFiles(tuple(map(Path, context.project_folders)))
    plan, context, source_changed = align_lines(plan, _without_foreign_files(context, project_files), read)
    project, entry, deferred = Project(read), context.entry, _DeferredChanges()
    replacing = [step.remedy for step in plan.steps if any(map(optimizers.replaces_optimizer, step.edits))]
    if replacing and rate_factor != 1.0:
        plan = replace(plan, steps=tuple(_scale_own_rate(step, rate_factor) for step in plan.steps))
    origins = ModuleOrigins(context, project, source_changed=source_changed)
    draft = _edit_in_place(plan, context, origins, project, deferred, project_files)
    if set(replacing) & set(deferred.optimizer_remedies):
        deferred.rate_factor *= rate_factor
    elif not replacing and rate_factor != 1.0:
        draft = _scale_rate(draft, project, entry, rate_factor, deferred)
    if deferred.network_remedies and apply_where_built(draft, project, origins, plan.steps, deferred.network_remedies):
        deferred.network_remedies.clear()
    request_imports(draft, project)
    add_imports(draft, project)
    add_definitions(draft, project)
    texts = {source.path: draft.edited_text(source) for source in project.opened_files()}
    if deferred.is_needed and entry is None:
        raise TrialError(
            f"{deferred.reason_text}, and no line is known that builds an optimizer for the network, where it could be applied"
        )
    if deferred.is_needed and entry is not None:
        path, line = Path(entry.location.file), entry.location.line
        if path in texts:
            line = optimizers.optimizer_line(project, entry, deferred.optimizer_edits) if deferred.optimizer_edits else line
            line += draft.added_lines_before(project[path], line)
        texts[path] = _insert_lines(texts[path] if path in texts else read(path), line, entry.expression, deferred)
    for path, text in texts.items():
        parse_source(text, f"the patch of {path.name} would not parse; apply it by hand")
    return {path: text for path, text in texts.items() if text != read(path)}


@dataclass(slots=True)
class _DeferredChanges:
    """What could not be written in place and goes into lines where the optimizer is built.

    `network_remedies` alter the network alone, `optimizer_remedies` the optimizer, by `optimizer_edits`. `reasons` are by remedy.
    """

    network_remedies: list[str] = field(default_factory=list[str])
    optimizer_remedies: list[str] = field(default_factory=list[str])
    optimizer_edits: list[Edit] = field(default_factory=list[Edit])
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    rate_factor: float = 1.0

    @property
    def is_needed(self) -> bool:
        """Whether any line is needed."""
        return bool(self.network_remedies or self.optimizer_remedies) or self.rate_factor != 1.0

    @property
    def reason_text(self) -> str:
        """Why each could not be written in place."""
        return "; ".join(f"{name} cannot be written in place ({reason})" for name, reason in self.reasons.items())


def _without_foreign_files(context: PatchContext, project: ProjectFiles) -> PatchContext:
    """The context without lines in files of libraries, which are not the user's to edit."""

    def without_foreign_location(origin: ModuleOrigin) -> ModuleOrigin:
        is_foreign = origin.location is not None and not project.includes(origin.location.file)
        return replace(origin, location=None) if is_foreign else origin

    outside = tuple(map(without_foreign_location, context.outside_modules))
    return replace(
        context,
        entry=context.entry if context.entry is None or project.includes(context.entry.location.file) else None,
        origins=tuple(map(without_foreign_location, context.origins)),
        outside_modules=tuple(origin for origin in outside if origin.location is not None),
    )


# In place


def _edit_in_place(
    plan: Plan, context: PatchContext, origins: ModuleOrigins, project: Project, deferred: _DeferredChanges, files: ProjectFiles
) -> Draft:
    """All that can be written in place. What follows a deferred remedy is deferred too: it may build on it."""
    draft = Draft(files)
    try:
        _open_files(project, context)
    except ScriptError as fault:  # Python may know a syntax that libcst does not
        for step in plan.steps:
            _defer(step, str(fault), deferred)
        return draft
    for step in plan.steps:
        network, optimizer = _split_by_target(step.edits)
        earlier = (deferred.network_remedies if network else []) + (deferred.optimizer_remedies if optimizer else [])
        if earlier:
            _defer(step, f"it comes after {earlier[0]}", deferred)
            continue
        attempt = draft.copy()
        try:
            _write_step(attempt, project, origins, context.entry, plan, step)
        except NotExpressible as reason:
            _defer(step, str(reason), deferred)
        else:
            draft = attempt
    return draft


def _open_files(project: Project, context: PatchContext) -> None:
    """Parses the files that a plan may touch."""
    entry_files = [context.entry.location.file] if context.entry is not None else []
    module_files = [origin.location.file for origin in context.origins if origin.location is not None]
    for file in dict.fromkeys((*entry_files, *module_files)):
        project[Path(file)]


def _split_by_target(edits: Sequence[Edit]) -> tuple[list[Edit], list[Edit]]:
    """The edits of the network, and those of its optimizers."""
    optimizer = [edit for edit in edits if edit.target is EditTarget.OPTIMIZER]
    return [edit for edit in edits if edit.target is EditTarget.NETWORK], optimizer


def _write_step(
    draft: Draft,
    project: Project,
    origins: ModuleOrigins,
    entry: Entry | None,
    plan: Plan,
    step: PlanStep,
) -> None:
    """Writes the edits of one remedy into a draft. Raises NotExpressible where one of them cannot be written in place."""
    network, optimizer = _split_by_target(step.edits)
    if not network and not optimizer:
        raise NotExpressible("it says no edit")
    if loss_scaling.is_loss_scaling(network):
        loss_scaling.write_scaling(draft, project, entry, optimizer)
        return
    if residual_blocks.is_residual(network):
        residual_blocks.write_blocks(draft, project, origins, network)
    else:
        _write_modules(draft, project, origins, plan, step, [edit for edit in network if not edit.values])
    if initialised := [edit for edit in network if edit.values]:
        initialisation.initialise(draft, project, origins, entry, plan, step.remedy, initialised)
    if clipping.is_clipping(optimizer):
        clipping.write_clipping(draft, project, entry, optimizer)
    elif training_steps.is_training_step(optimizer):
        training_steps.write_steps(draft, project, entry, optimizer)
    elif optimizer:
        optimizers.change_settings(draft, project, entry, optimizer)


def _write_modules(
    draft: Draft, project: Project, origins: ModuleOrigins, plan: Plan, step: PlanStep, edits: Sequence[Edit]
) -> None:
    """Writes the edits of modules, and of calls in their methods."""
    calls = [edit for edit in edits if edit.calls]
    outputs = [edit for edit in edits if network_output.is_output(edit)]
    inputs = [edit for edit in edits if input_modules.is_input_module(edit)]
    modules = [edit for edit in edits if edit not in (*calls, *outputs, *inputs)]
    if any(map(reassignments.is_setting, modules)):
        reassignments.reassign(draft, project, origins, plan, step, modules)  # with what is put beside it
        modules = []
    unknown = [edit for edit in modules if edit.action not in ("replace", "insert", "remove") or not edit.path]
    if unknown:
        raise NotExpressible(f"{unknown[0].action} at {unknown[0].path or 'the network itself'!r} has no words in a source")
    recurrent = [edit for edit in modules if recurrence.is_recurrence(edit)]
    inserted = [edit for edit in modules if edit.action == "insert"]
    replaced = [edit for edit in modules if edit not in recurrent and edit not in inserted]
    if calls:
        functional_calls.exchange(draft, project, origins, calls)
    if recurrent:
        opens_forget_gate = all(each.remedy != _FORGET_BIAS for each in plan.steps)
        recurrence.exchange(draft, project, origins, recurrent, opens_forget_gate=opens_forget_gate)
    for write, some in ((module_constructors.exchange, replaced), (insertions.insert, inserted)):
        if some:
            _write_or_reassign(write, draft, project, origins, plan, step, some)
    if inputs:
        input_modules.put_before(draft, project, origins, inputs)
    if outputs:
        network_output.append_to_output(draft, project, origins, outputs)


def _write_or_reassign(
    write: Callable[[Draft, Project, ModuleOrigins, Sequence[Edit]], None],
    draft: Draft,
    project: Project,
    origins: ModuleOrigins,
    plan: Plan,
    step: PlanStep,
    edits: Sequence[Edit],
) -> None:
    """Writes edits where their modules are built, or where they cannot be written there, where the network is built."""
    attempt = draft.copy()
    try:
        write(attempt, project, origins, edits)
    except NotExpressible as reason:
        try:
            reassignments.reassign(draft, project, origins, plan, step, edits)
        except NotExpressible as other_reason:
            raise NotExpressible(f"{reason}; {other_reason}") from reason
    else:
        draft.adopt(attempt)


def _scale_own_rate(step: PlanStep, factor: float) -> PlanStep:
    """A remedy with the learning rate of the optimizer that replaces another multiplied."""
    edits = (optimizers.scale_new_rate(edit, factor) if optimizers.replaces_optimizer(edit) else edit for edit in step.edits)
    return replace(step, edits=tuple(edits))


def _scale_rate(draft: Draft, project: Project, entry: Entry | None, factor: float, deferred: _DeferredChanges) -> Draft:
    attempt = draft.copy()
    try:
        optimizers.scale_rate(attempt, project, entry, factor)
    except (NotExpressible, ScriptError) as reason:
        deferred.rate_factor *= factor
        deferred.reasons[_LEARNING_RATE] = str(reason)
        return draft
    return attempt


def _defer(step: PlanStep, reason: str, deferred: _DeferredChanges) -> None:
    """Leaves a remedy to the line. Raises TrialError where it could not act there, for want of a batch."""
    deferred.reasons[step.remedy] = reason
    _, optimizer = _split_by_target(step.edits)
    if step.remedy == _LEARNING_RATE:
        deferred.rate_factor *= _rate_factor(step.edits, reason)
        deferred.optimizer_edits += optimizer
    elif step.needs_batch:
        raise TrialError(
            f"{step.remedy} cannot be written in place ({reason}), and needs an example batch to act, which is not at hand where "
            "the optimizer is built; apply it there by hand, with inputs="
        )
    else:
        (deferred.optimizer_remedies if optimizer else deferred.network_remedies).append(step.remedy)
        deferred.optimizer_edits += optimizer


def _rate_factor(edits: Sequence[Edit], reason: str) -> float:
    """The factor by which an edit changes a learning rate. Raises TrialError where its settings do not say."""
    try:
        (edit,) = edits
        before, after = (optimizers.parse_settings(text)[1]["lr"] for text in (edit.before, edit.after))
        return float(str(after)) / float(str(before))
    except (NotExpressible, KeyError, ValueError, ZeroDivisionError) as fault:
        raise TrialError(f"the learning rate cannot be changed in place ({reason}); change it by hand") from fault


# The line


def _insert_lines(text: str, line: int, expression: str, deferred: _DeferredChanges) -> str:
    """A source with the deferred changes at the statement that builds the optimizer."""
    names = (*deferred.network_remedies, *deferred.optimizer_remedies)
    if deferred.rate_factor != 1.0:
        text = add_rate_scaling_after(text, line, expression, deferred.rate_factor)
    if deferred.optimizer_remedies:
        text = add_apply_after(text, line, expression, names)
    elif names:
        text = add_apply_before(text, line, expression, names)
    return add_import(text) if names else text
