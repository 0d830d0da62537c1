"""Finds the statement in which an optimizer steps, and what the network, the optimizer and a gradient scaler are called there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
from libcst import metadata as md

from unvanish.patch.edits.training.optimizers import OptimizerCall, class_before, find_optimizer_call
from unvanish.patch.source.parsed_file import Project, SourceFile
from unvanish.patch.text_replacements import Draft, NotExpressible
from unvanish.record.network_changes import Edit
from unvanish.record.structure import Entry


@dataclass(frozen=True, slots=True)
class StepStatement:
    """The only statement in which an optimizer steps.

    Arguments:
        built: the call that builds the optimizer.
        call: the call of the step: `optimizer.step()` or `scaler.step(optimizer)`.
        optimizer, network: what they are called there.
        scaler: what the gradient scaler is called there; "" where there is none.
    """

    built: OptimizerCall
    call: cst.Call
    optimizer: str
    network: str
    scaler: str

    @property
    def source(self) -> SourceFile:
        """The file of the statement, which is that of the optimizer."""
        return self.built.source

    def insert_before(self, draft: Draft, lines: Sequence[str]) -> None:
        """Writes statements before that of the step. Raises NotExpressible where they do not fit on its line."""
        start, indent = self.source.start(self.call), self.source.indentation(self.source.start(self.call))
        between = f"{self.source.line_ending}{indent}" if indent is not None else "; "
        if indent is None and any(line.endswith(":") for line in lines):
            raise NotExpressible(f"line {self.source.line(self.call)} has several statements")
        draft.replace(self.source, start, start, "".join(f"{line}{between}" for line in lines))

    def insert_behind(self, draft: Draft, lines: Sequence[str]) -> None:
        """Writes statements behind that of the step."""
        end, indent = end_with_comment(self.source, self.call), self.source.indentation(self.source.start(self.call))
        between = f"{self.source.line_ending}{indent}" if indent is not None else "; "
        draft.insert(self.source, end, "".join(f"{between}{line}" for line in lines))


def find_step(project: Project, entry: Entry | None, edit: Edit) -> StepStatement:
    """The statement in which the optimizer of an edit steps. Raises NotExpressible where that is not one plain statement."""
    built = find_optimizer_call(project, entry, class_before(edit))
    source, name = built.source, optimizer_name(built)
    if entry is None or source.path != Path(entry.location.file):
        raise NotExpressible("the optimizer is built in another file than the one that names the network")
    steps = [call for call in source.calls if isinstance(call.func, cst.Attribute) and call.func.attr.value == "step"]
    own = [call for call in steps if _steps_by_itself(source, call, name) or _steps_by_scaler(source, call, name)]
    if len(own) != 1 or not isinstance(source.parent(own[0]), cst.Expr):
        raise NotExpressible("the optimizer does not step in one plain place")
    (step,) = own
    is_scaled = _steps_by_scaler(source, step, name)
    if len(step.args) != int(is_scaled):
        raise NotExpressible(f"line {source.line(step)} steps with a closure")
    network = _network_name(built) or entry.expression
    if not all(has_same_meaning(source, each.partition(".")[0], step, built.call) for each in (name, network)):
        raise NotExpressible(f"the network or its optimizer is not called {network} and {name} where the optimizer steps")
    scaler = source.code_of(step.func.value) if is_scaled and isinstance(step.func, cst.Attribute) else ""
    return StepStatement(built, step, name, network, scaler)


def end_with_comment(source: SourceFile, node: cst.CSTNode) -> int:
    """The offset at which a statement ends, with the comment behind it on its line."""
    end = source.end(node)
    rest = source.data[end : source.offset(source.line_at(end) + 1)].decode().rstrip("\r\n")
    return end + len(rest.encode()) if rest.lstrip().startswith("#") else end


def optimizer_name(optimizer: OptimizerCall) -> str:
    """The name to which the optimizer is assigned where it is built. Raises NotExpressible where there is none."""
    statement = optimizer.source.parent(optimizer.call)
    if isinstance(statement, cst.Assign) and len(statement.targets) == 1:
        target = statement.targets[0].target
        if isinstance(target, cst.Name | cst.Attribute):
            return optimizer.source.code_of(target)
    raise NotExpressible(f"line {optimizer.source.line(optimizer.call)} gives the optimizer no name")


def has_same_meaning(source: SourceFile, name: str, node: cst.CSTNode, other: cst.CSTNode) -> bool:
    """Whether a name has the same assignments at two nodes."""
    if name == "self":
        return source.enclosing(node, cst.ClassDef) is source.enclosing(other, cst.ClassDef)
    here: list[md.BaseAssignment] = list(source.assignments(name, node))
    return bool(here) and here == list(source.assignments(name, other))


def accelerator_name(source: SourceFile) -> str:
    """What the file calls its Accelerator of Hugging Face; "" where it has none."""
    for assign in source.find_all(cst.Assign):
        built = assign.value
        if isinstance(built, cst.Call) and source.qualified_name(built.func).rpartition(".")[2] == "Accelerator":
            return source.code_of(assign.targets[0].target)
    return ""


def _steps_by_itself(source: SourceFile, call: cst.Call, name: str) -> bool:
    return isinstance(call.func, cst.Attribute) and source.code_of(call.func.value) == name


def _steps_by_scaler(source: SourceFile, call: cst.Call, name: str) -> bool:
    return len(call.args) == 1 and source.code_of(call.args[0].value) == name and not _steps_by_itself(source, call, name)


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
