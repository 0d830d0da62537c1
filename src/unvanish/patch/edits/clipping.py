"""Clips the joint gradient norm: changes the bound of a present clipping, or adds a line before the optimizer's step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import libcst as cst
from libcst import metadata as md

from unvanish.patch.edits.numbers import format_number, set_number
from unvanish.patch.edits.optimizers import OptimizerCall, class_before, find_optimizer_call
from unvanish.patch.source.parsed_file import Project, SourceFile, find_argument, literal_number
from unvanish.patch.source.torch_names import name_module
from unvanish.patch.text_replacements import Draft, ImportRequest, NotExpressible
from unvanish.record.network_changes import Edit
from unvanish.record.structure import Entry

_CLIPPED_LENGTH = re.compile(r"clipped to length ([0-9.e+-]+)$")
_CLIP = "clip_grad_norm_"


def is_clipping(edits: Sequence[Edit]) -> bool:
    """Whether edits clip the gradients of an optimizer by their joint norm, and do nothing else."""
    return bool(edits) and all(_CLIPPED_LENGTH.search(edit.after) for edit in edits)


def write_clipping(draft: Draft, project: Project, entry: Entry | None, edits: Sequence[Edit]) -> None:
    """Clips the gradients in the source to the norm of the edits. Raises NotExpressible where there is no one place for it."""
    lengths = {float(match.group(1)) for edit in edits if (match := _CLIPPED_LENGTH.search(edit.after))}
    if len(edits) != 1 or len(lengths) != 1 or entry is None:
        raise NotExpressible("several optimizers clip their gradients")
    (length,) = lengths
    clippings = [(each, call) for each in project.opened_files() for call in each.calls if _is_clipping_call(each, call)]
    if len(clippings) > 1:
        raise NotExpressible("gradients are clipped in several places")
    if clippings:
        source, call = clippings[0]
        _change_length(draft, project, source, call, length)
    else:
        _insert_clipping(draft, find_optimizer_call(project, entry, class_before(edits[0])), entry, length)


def _is_clipping_call(source: SourceFile, call: cst.Call) -> bool:
    return source.qualified_name(call.func).rpartition(".")[2] == _CLIP


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


def _insert_clipping(draft: Draft, optimizer: OptimizerCall, entry: Entry, length: float) -> None:
    """Clips the network's parameters before the only step of the optimizer, where the names of both are visible."""
    source, name = optimizer.source, _optimizer_name(optimizer)
    if source.path != Path(entry.location.file):
        raise NotExpressible("the optimizer is built in another file than the one that names the network")
    steps = [c for c in source.calls if isinstance(c.func, cst.Attribute) and c.func.attr.value == "step"]
    own_steps = [call for call in steps if isinstance(call.func, cst.Attribute) and source.code_of(call.func.value) == name]
    is_scaled = any(call.args and source.code_of(call.args[0].value) == name for call in steps)
    if len(own_steps) != 1 or own_steps[0].args or is_scaled or not isinstance(source.parent(own_steps[0]), cst.Expr):
        raise NotExpressible("the optimizer does not step in one plain place")
    step = own_steps[0]
    network = _network_name(optimizer) or entry.expression
    if not all(_has_same_meaning(source, each.partition(".")[0], step, optimizer.call) for each in (name, network)):
        raise NotExpressible(f"the network or its optimizer is not called {network} and {name} where the optimizer steps")
    utils = name_module(source, step, "torch.nn.utils")
    if utils is None and source.assignments(_CLIP, step):
        raise NotExpressible(f"the file uses the name {_CLIP} otherwise")
    if utils is None:
        draft.request_import(source.path, ImportRequest(f"from torch.nn.utils import {_CLIP}"))
    indent = source.indentation(source.start(step))
    between = f"{source.line_ending}{indent}" if indent is not None else "; "
    function = f"{utils}.{_CLIP}" if utils is not None else _CLIP
    line = f"{function}({network}.parameters(), {format_number(length)})"
    draft.replace(source, source.start(step), source.start(step), f"{line}{between}")


def _optimizer_name(optimizer: OptimizerCall) -> str:
    """The name to which the optimizer is assigned where it is built."""
    statement = optimizer.source.parent(optimizer.call)
    if isinstance(statement, cst.Assign) and len(statement.targets) == 1:
        target = statement.targets[0].target
        if isinstance(target, cst.Name | cst.Attribute):
            return optimizer.source.code_of(target)
    raise NotExpressible(f"line {optimizer.source.line(optimizer.call)} gives the optimizer no name")


def _network_name(optimizer: OptimizerCall) -> str:
    """The expression of the network whose parameters the optimizer gets; "" where it gets others."""
    first = optimizer.call.args[0].value if optimizer.call.args else None
    if (
        isinstance(first, cst.Call)
        and not first.args
        and isinstance(first.func, cst.Attribute)
        and first.func.attr.value == "parameters"
    ):
        return optimizer.source.code_of(first.func.value)
    return ""


def _has_same_meaning(source: SourceFile, name: str, node: cst.CSTNode, other: cst.CSTNode) -> bool:
    """Whether a name has the same assignments at two nodes."""
    if name == "self":
        return source.enclosing(node, cst.ClassDef) is source.enclosing(other, cst.ClassDef)
    here: list[md.BaseAssignment] = list(source.assignments(name, node))
    return bool(here) and here == list(source.assignments(name, other))
