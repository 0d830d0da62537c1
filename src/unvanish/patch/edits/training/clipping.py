"""Clips the joint gradient norm: changes the bound of a present clipping, or adds a line before the optimizer's step."""

from __future__ import annotations

import re
from collections.abc import Sequence

import libcst as cst

from unvanish.patch.edits.numbers import format_number, set_number
from unvanish.patch.edits.training.step_statement import StepStatement, accelerator_name, find_step
from unvanish.patch.edits.training.trainer_settings import TrainerSetting, set_in_trainer
from unvanish.patch.source.parsed_file import Project, SourceFile, find_argument, literal_number
from unvanish.patch.source.torch_names import name_module
from unvanish.patch.text_replacements import Draft, ImportRequest, NotExpressible
from unvanish.record.network_changes import Edit
from unvanish.record.structure import Entry

_CLIPPED_LENGTH = re.compile(r"clipped to length ([0-9.e+-]+)$")
_CLIP = "clip_grad_norm_"
_TRAINERS = (
    TrainerSetting("lightning", "Trainer", "gradient_clip_val"),
    TrainerSetting("transformers", "TrainingArguments", "max_grad_norm"),
)


def is_clipping(edits: Sequence[Edit]) -> bool:
    """Whether edits clip the gradients of an optimizer by their joint norm, and do nothing else."""
    return bool(edits) and all(_CLIPPED_LENGTH.search(edit.after) for edit in edits)


def write_clipping(draft: Draft, project: Project, entry: Entry | None, edits: Sequence[Edit]) -> None:
    """Clips the gradients in the source to the norm of the edits. Raises NotExpressible where there is no one place for it."""
    lengths = {float(match.group(1)) for edit in edits if (match := _CLIPPED_LENGTH.search(edit.after))}
    (length,) = lengths
    clippings = [(each, call) for each in project.opened_files() for call in each.calls if _is_clipping_call(each, call)]
    if len(clippings) > 1 or (clippings and len(edits) > 1):
        raise NotExpressible("gradients are clipped in several places")
    if clippings:
        source, call = clippings[0]
        _change_length(draft, project, source, call, length)
    elif not set_in_trainer(draft, project, _TRAINERS, length):
        steps = [find_step(project, entry, edit) for edit in edits]
        if len({id(step.call) for step in steps}) != len(edits):
            raise NotExpressible("several optimizers clip their gradients")
        for step in steps:
            _insert_clipping(draft, step, length)


def _is_clipping_call(source: SourceFile, call: cst.Call) -> bool:
    is_method = isinstance(call.func, cst.Attribute) and call.func.attr.value == _CLIP
    return is_method or source.qualified_name(call.func).rpartition(".")[2] == _CLIP


def _change_length(draft: Draft, project: Project, source: SourceFile, call: cst.Call, length: float) -> None:
    arg = find_argument(call, "max_norm", 1)
    if arg is None:
        raise NotExpressible(f"line {source.line(call)} does not say to which length it clips")
    if literal_number(arg.value) == length:
        return
    try:
        set_number(draft, project, source, arg.value, length)
    except NotExpressible:  # the hook of `unvanish.apply` would clip a second time, after this
        draft.replace(source, source.start(arg.value), source.end(arg.value), format_number(length))


def _insert_clipping(draft: Draft, step: StepStatement, length: float) -> None:
    """Clips the network's parameters before the step of the optimizer; a gradient scaler takes its factor off first."""
    source, accelerator = step.source, accelerator_name(step.source)
    arguments = f"({step.network}.parameters(), {format_number(length)})"
    if accelerator:
        line = f"{accelerator}.{_CLIP}{arguments}"
        accumulates = any(source.code_of(call.func) == f"{accelerator}.accumulate" for call in source.calls)
        step.insert_before(draft, [f"if {accelerator}.sync_gradients:", f"    {line}"] if accumulates else [line])
        return
    utils = name_module(source, step.call, "torch.nn.utils")
    if utils is None and source.assignments(_CLIP, step.call):
        raise NotExpressible(f"the file uses the name {_CLIP} otherwise")
    if utils is None:
        draft.request_import(source.path, ImportRequest(f"from torch.nn.utils import {_CLIP}"))
    step.insert_before(draft, [*unscale_lines(step), f"{utils}.{_CLIP}{arguments}" if utils else f"{_CLIP}{arguments}"])


def unscale_lines(step: StepStatement) -> list[str]:
    """The line that divides the gradients by a scaler's factor before something reads them; none where that is done already."""
    unscale = f"{step.scaler}.unscale_"
    is_done = any(step.source.code_of(call.func) == unscale for call in step.source.calls)
    return [f"{unscale}({step.optimizer})"] if step.scaler and not is_done else []
