"""Clipping of the gradients' common length: the number of a clipping that is there, or a line before the optimizer's step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import libcst as cst
from libcst import metadata as md

from unvanish.patch.draft import Draft, Unsayable, Wanted
from unvanish.patch.edits.numbers import set_number, spelled
from unvanish.patch.edits.optimizers import Built, building
from unvanish.patch.source.parsed_file import Project, Source, argument, number
from unvanish.patch.source.torch_names import module_there
from unvanish.record.change import Edit
from unvanish.record.structure import Entry

_LENGTH = re.compile(r"clipped to length ([0-9.e+-]+)$")
_CLIP = "clip_grad_norm_"


def is_clipping(edits: Sequence[Edit]) -> bool:
    """Whether some edits have an optimizer clip its gradients by their common length, and do nothing else."""
    return bool(edits) and all(_LENGTH.search(edit.after) for edit in edits)


def clip(draft: Draft, project: Project, entry: Entry | None, edits: Sequence[Edit]) -> None:
    """Has the source clip the gradients to the length that the edits say. Raises Unsayable where there is no one place for it."""
    lengths = {float(found.group(1)) for edit in edits if (found := _LENGTH.search(edit.after))}
    if len(edits) != 1 or len(lengths) != 1 or entry is None:
        raise Unsayable("several optimizers clip their gradients")
    (length,) = lengths
    there = [(each, call) for each in project.known() for call in each.calls if _clips(each, call)]
    if len(there) > 1:
        raise Unsayable("gradients are clipped in several places")
    if there:
        where, call = there[0]
        _change(draft, project, where, call, length)
    else:
        kind = edits[0].before.partition("(")[0].partition(",")[0]
        _put_line(draft, building(project, entry, kind), entry, length)


def _clips(source: Source, call: cst.Call) -> bool:
    return source.qualified(call.func).rpartition(".")[2] == _CLIP


def _change(draft: Draft, project: Project, source: Source, call: cst.Call, length: float) -> None:
    arg = argument(call, "max_norm", 1)
    if arg is None:
        raise Unsayable(f"line {source.line(call)} does not say to which length it clips")
    if number(arg.value) == length:
        return
    try:
        set_number(draft, project, source, arg.value, length)
    except Unsayable:  # a hook of ours would clip once more, behind this
        draft.put(source, source.start(arg.value), source.end(arg.value), spelled(length))


def _put_line(draft: Draft, built: Built, entry: Entry, length: float) -> None:
    """A clipping of the network's parameters before the only step of the optimizer, where both can be seen by their names."""
    source, name = built.source, _name(built)
    if source.path != Path(entry.location.file):
        raise Unsayable("the optimizer is built in another file than the one that names the network")
    steps = [c for c in source.calls if isinstance(c.func, cst.Attribute) and c.func.attr.value == "step"]
    own = [call for call in steps if isinstance(call.func, cst.Attribute) and source.written(call.func.value) == name]
    scaled = any(call.args and source.written(call.args[0].value) == name for call in steps)
    if len(own) != 1 or own[0].args or scaled or not isinstance(source.parent(own[0]), cst.Expr):
        raise Unsayable("the optimizer does not step in one plain place")
    step = own[0]
    network = _network(built) or entry.expression
    if not all(_same_meaning(source, each.partition(".")[0], step, built.call) for each in (name, network)):
        raise Unsayable(f"the network or its optimizer is not called {network} and {name} where the optimizer steps")
    home = module_there(source, step, "torch.nn.utils")
    if home is None and source.assignments(_CLIP, step):
        raise Unsayable(f"the file uses the name {_CLIP} otherwise")
    if home is None:
        draft.want(source.path, Wanted(f"from torch.nn.utils import {_CLIP}"))
    indent = source.indentation(source.start(step))
    between = f"{source.ending}{indent}" if indent is not None else "; "
    function = f"{home}.{_CLIP}" if home is not None else _CLIP
    line = f"{function}({network}.parameters(), {spelled(length)})"
    draft.put(source, source.start(step), source.start(step), f"{line}{between}")


def _name(built: Built) -> str:
    """The name that the optimizer gets where it is built."""
    statement = built.source.parent(built.call)
    if isinstance(statement, cst.Assign) and len(statement.targets) == 1:
        target = statement.targets[0].target
        if isinstance(target, cst.Name | cst.Attribute):
            return built.source.written(target)
    raise Unsayable(f"line {built.source.line(built.call)} gives the optimizer no name")


def _network(built: Built) -> str:
    """How the network is named whose parameters the optimizer gets; "" where it gets others."""
    first = built.call.args[0].value if built.call.args else None
    if (
        isinstance(first, cst.Call)
        and not first.args
        and isinstance(first.func, cst.Attribute)
        and first.func.attr.value == "parameters"
    ):
        return built.source.written(first.func.value)
    return ""


def _same_meaning(source: Source, name: str, node: cst.CSTNode, other: cst.CSTNode) -> bool:
    """Whether a name means the same where two nodes stand."""
    if name == "self":
        return source.around(node, cst.ClassDef) is source.around(other, cst.ClassDef)
    here: list[md.BaseAssignment] = list(source.assignments(name, node))
    return bool(here) and here == list(source.assignments(name, other))
