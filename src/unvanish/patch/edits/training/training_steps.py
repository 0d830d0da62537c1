"""Writes what remedies do at each training step: adaptive clipping, steps that are passed over, and a rate that is warmed up."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import libcst as cst

from unvanish.patch.edits.training.clipping import unscale_lines
from unvanish.patch.edits.training.step_statement import StepStatement, end_with_comment, find_step
from unvanish.patch.edits.training.trainer_settings import TrainerSetting, set_in_trainer
from unvanish.patch.edits.written_definitions import name_definition
from unvanish.patch.source.parsed_file import Project
from unvanish.patch.source.torch_names import name_module
from unvanish.patch.text_replacements import Draft, NotExpressible
from unvanish.record.network_changes import Edit
from unvanish.record.structure import Entry

_ADAPTIVE = re.compile(r"gradient clipped to ([0-9.e+-]+) of its weights(?:, but in ([^;]+))?$")
_WARM_UP = re.compile(r"rate warmed up over (\d+) steps$")
_SKIP = re.compile(r"no step where a gradient is not finite$")

_CHAINABLE = frozenset(
    {"StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "PolynomialLR", "ConstantLR", "LinearLR", "ReduceLROnPlateau"}
)
"""Schedulers that multiply the present rate, so that another one may do so too."""

_WARM_UP_SETTING = (TrainerSetting("transformers", "TrainingArguments", "warmup_steps"),)


def is_training_step(edits: Sequence[Edit]) -> bool:
    """Whether all edits change what an optimizer does at its steps, in a way that this module writes."""
    return bool(edits) and all(_writer(edit) is not None for edit in edits)


def write_steps(draft: Draft, project: Project, entry: Entry | None, edits: Sequence[Edit]) -> None:
    """Writes the edits at the statements in which their optimizers step. Raises NotExpressible where one has no plain one."""
    warm_up = _WARM_UP.search(edits[0].after)
    if warm_up and len(edits) == 1 and set_in_trainer(draft, project, _WARM_UP_SETTING, int(warm_up.group(1))):
        return
    steps = [find_step(project, entry, edit) for edit in edits]
    if len({id(step.call) for step in steps}) != len(edits):
        raise NotExpressible("several optimizers are altered")
    for step, edit in zip(steps, edits, strict=True):
        writer = _writer(edit)
        if writer is not None:
            writer(draft, step, edit)


def _writer(edit: Edit) -> Callable[[Draft, StepStatement, Edit], None] | None:
    return next((write for pattern, write in _WRITERS.items() if pattern.search(edit.after)), None)


def _clip_adaptively(draft: Draft, step: StepStatement, edit: Edit) -> None:
    """Clips each unit's gradient before the step, by a function that the file gets."""
    match = _ADAPTIVE.search(edit.after)
    factor, left_alone = match.groups() if match else ("", None)
    if _calls(step, "clip_adaptively_"):
        return
    parameters = f"{step.network}.parameters()"
    if left_alone:
        names = [f"{path.strip()}." for path in left_alone.split(",")]
        prefix = repr(names[0]) if len(names) == 1 else repr(tuple(names))
        prefix = prefix.replace("'", '"')
        parameters = f"[p for name, p in {step.network}.named_parameters() if not name.startswith({prefix})]"
    function = name_definition(draft, step.source, "clip_adaptively_")
    step.insert_before(draft, [*unscale_lines(step), f"{function}({parameters}, {factor})"])


def _skip_non_finite(draft: Draft, step: StepStatement, edit: Edit) -> None:
    """Takes a step only where all gradients are finite."""
    del edit
    source = step.source
    if step.scaler:
        raise NotExpressible(f"line {source.line(step.call)} passes over such steps already, by its scaler")
    statement = source.parent(step.call)
    line = source.parent(statement) if statement is not None else None
    condition = f"all(p.grad.isfinite().all() for p in {step.network}.parameters() if p.grad is not None)"
    around = source.parent(source.parent(line) or source.module) if line is not None else None
    if isinstance(around, cst.If) and source.code_of(around.test) == condition:
        return
    indent = source.indentation(source.start(step.call))
    if indent is None or not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
        raise NotExpressible(f"line {source.line(step.call)} has several statements")
    deeper = f"{indent}\t" if indent.endswith("\t") else f"{indent}    "
    start = source.start(step.call)
    draft.replace(source, start, start, f"if {condition}:{source.line_ending}{deeper}")


def _warm_up(draft: Draft, step: StepStatement, edit: Edit) -> None:
    """Adds a scheduler behind the optimizer, and its step behind the optimizer's."""
    match = _WARM_UP.search(edit.after)
    count = int(match.group(1)) if match else 1
    source, statement = step.source, step.source.statement_of(step.built.call)
    schedulers = [call for call in source.calls if ".lr_scheduler." in source.qualified_name(call.func)]
    names = {source.qualified_name(call.func).rpartition(".")[2] for call in schedulers}
    scheduler = name_module(source, step.built.call, "torch.optim.lr_scheduler")
    prefix = step.optimizer.rpartition(".")[0]
    name = f"{prefix}.warmup" if prefix else "warmup"
    if any(source.code_of(call.func) == f"{name}.step" for call in source.calls):
        return
    if scheduler is None or statement is None or (not prefix and source.assignments(name, step.call)):
        raise NotExpressible(f"line {source.line(step.built.call)} has no name for torch.optim, or the name {name} is taken")
    if not names <= _CHAINABLE:
        raise NotExpressible(f"{min(names - _CHAINABLE)} sets the learning rate by itself at every step")
    if names:
        text = f"LinearLR({step.optimizer}, 1 / {count}, total_iters={count - 1})"
    else:
        text = f"LambdaLR({step.optimizer}, lambda step: min(1.0, (step + 1) / {count}))"
    end, indent = end_with_comment(source, statement), source.indentation(source.start(statement))
    between = f"{source.line_ending}{indent}" if indent is not None else "; "
    draft.insert(source, end, f"{between}{name} = {scheduler}.{text}")
    if step.scaler:
        updates = [call for call in source.calls if source.code_of(call.func) == f"{step.scaler}.update"]
        if len(updates) != 1:
            raise NotExpressible(f"{step.scaler} is not updated in one place")
        StepStatement(step.built, updates[0], step.optimizer, step.network, step.scaler).insert_behind(draft, [f"{name}.step()"])
    else:
        step.insert_behind(draft, [f"{name}.step()"])


def _calls(step: StepStatement, name: str) -> bool:
    return any(step.source.code_of(call.func) == name for call in step.source.calls)


_WRITERS: Mapping[re.Pattern[str], Callable[[Draft, StepStatement, Edit], None]] = MappingProxyType(
    {_ADAPTIVE: _clip_adaptively, _WARM_UP: _warm_up, _SKIP: _skip_non_finite}
)
