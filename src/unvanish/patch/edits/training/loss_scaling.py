"""Scales the loss by torch's GradScaler: `scaler.scale(loss).backward()`, `scaler.step(opt)` and `scaler.update()`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import libcst as cst

from unvanish.patch.edits.training.step_statement import StepStatement, end_with_comment, find_step, has_same_meaning
from unvanish.patch.source.parsed_file import Project, SourceFile, find_argument, literal_string
from unvanish.patch.source.torch_names import name_module
from unvanish.patch.text_replacements import Draft, NotExpressible
from unvanish.record.network_changes import Edit
from unvanish.record.structure import Entry

_SCALED = re.compile(r", gradients inside times [0-9.e+]+$")
_SCALER = "scaler"


def is_loss_scaling(network: Sequence[Edit]) -> bool:
    """Whether the edits of a network scale the gradients inside it, and do nothing else."""
    return len(network) == 1 and _SCALED.search(network[0].after) is not None


def write_scaling(draft: Draft, project: Project, entry: Entry | None, optimizer: Sequence[Edit]) -> None:
    """Scales the loss of one optimizer. Raises NotExpressible where its backward pass or its step is no plain statement, and where
    nothing is computed under autocast: torch's scaler takes no float16 weights."""
    if len(optimizer) != 1:
        raise NotExpressible("several optimizers are altered")
    step = find_step(project, entry, optimizer[0])
    if step.scaler:
        return
    source, backward = step.source, _backward_call(step)
    statement = source.statement_of(step.built.call)
    if statement is None or source.assignments(_SCALER, step.call):
        raise NotExpressible(f"{source.path.name} uses the name {_SCALER} otherwise")
    amp = name_module(source, step.built.call, "torch.amp")
    if amp is None:
        raise NotExpressible(f"{source.path.name} has no name for torch")
    device = _autocast_device(project, step)
    indent = source.indentation(source.start(statement))
    between = f"{source.line_ending}{indent}" if indent is not None else "; "
    draft.insert(source, end_with_comment(source, statement), f"{between}{_SCALER} = {amp}.GradScaler({device})")
    loss = backward.func.value if isinstance(backward.func, cst.Attribute) else backward
    draft.replace(source, source.start(loss), source.start(loss), f"{_SCALER}.scale(")
    draft.replace(source, source.end(loss), source.end(loss), ")")
    for call in source.calls:
        if source.code_of(call.func).rpartition(".")[2].startswith("clip_grad_"):
            line = f"{_SCALER}.unscale_({step.optimizer})"
            StepStatement(step.built, call, step.optimizer, step.network, "").insert_before(draft, [line])
    draft.replace(source, source.start(step.call), source.end(step.call), f"{_SCALER}.step({step.optimizer})")
    step.insert_behind(draft, [f"{_SCALER}.update()"])


def _backward_call(step: StepStatement) -> cst.Call:
    """The only statement that runs a backward pass in the file."""
    source = step.source
    calls = [call for call in source.calls if isinstance(call.func, cst.Attribute) and call.func.attr.value == "backward"]
    if len(calls) != 1 or calls[0].args or not isinstance(source.parent(calls[0]), cst.Expr):
        raise NotExpressible("the loss is not taken backward in one plain place")
    if source.enclosing(calls[0], cst.FunctionDef) is not source.enclosing(step.call, cst.FunctionDef):
        raise NotExpressible("the loss is taken backward in another function than the one that steps")
    return calls[0]


def _autocast_device(project: Project, step: StepStatement) -> str:
    """The device for which the source turns autocast on, as an expression that the optimizer's line can read."""
    found: list[tuple[SourceFile, cst.Call]] = [
        (source, call)
        for source in project.opened_files()
        for call in source.calls
        if source.qualified_name(call.func).startswith("torch.") and source.qualified_name(call.func).endswith(".autocast")
    ]
    for source, call in found:
        if source.qualified_name(call.func) == "torch.cuda.amp.autocast":
            return '"cuda"'
        arg = find_argument(call, "device_type", 0)
        if arg is not None and literal_string(arg.value) is not None:
            return source.code_of(arg.value)
        if (
            arg is not None
            and isinstance(arg.value, cst.Name)
            and source is step.source
            and has_same_meaning(source, arg.value.value, call, step.built.call)
        ):
            return arg.value.value
    raise NotExpressible("nothing is computed under autocast, and torch's scaler takes no float16 weights")
