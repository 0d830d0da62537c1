"""Writes what comes behind a network's output: `return self.head(x)` becomes `return torch.sigmoid(self.head(x))`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst

from unvanish.patch.constructor_calls import ModuleOrigins
from unvanish.patch.edits.written_definitions import name_class, name_definition
from unvanish.patch.source.arguments import change_arguments
from unvanish.patch.source.parsed_file import Project, SourceFile
from unvanish.patch.source.torch_names import name_module
from unvanish.patch.text_replacements import Draft, NotExpressible
from unvanish.record.network_changes import Edit

_ACTIVATION = re.compile(r", (sigmoid|softmax|log_softmax) of its output(?: along axis (-?\d+))?$")
_BOUNDS = re.compile(r", its output held within what has a logarithm$")
_MODULES = {"sigmoid": "Sigmoid", "softmax": "Softmax", "log_softmax": "LogSoftmax", "bound_scores": "BoundScores"}


@dataclass(frozen=True, slots=True)
class _OutputFunction:
    """A function of the network's output, and the keyword argument that says along which axis, where it has one."""

    name: str
    axis: str = ""

    @property
    def keyword(self) -> str:
        return f"dim={self.axis}" if self.axis else ""


def is_output(edit: Edit) -> bool:
    """Whether an edit adds a function behind the output of the network."""
    return not edit.path and _function_of(edit) is not None


def append_to_output(draft: Draft, project: Project, origins: ModuleOrigins, edits: Sequence[Edit]) -> None:
    """Adds the functions of some edits behind the network's output. Raises NotExpressible where the source does not show it."""
    for edit in edits:
        function = _function_of(edit)
        if function is None:
            continue
        line = origins.line_of(draft, "")
        if line.class_name == "Sequential":
            source, calls = origins.calls_at(line)
            if len(calls) != 1 or len(origins.paths_built_at(line)) != 1:
                raise NotExpressible(f"line {line.line} builds several sequences")
            _append_module(draft, source, calls[0], function)
        else:
            _wrap_returns(draft, *_forward_of(project, origins, line.class_name), function)


def _function_of(edit: Edit) -> _OutputFunction | None:
    match = _ACTIVATION.search(edit.after)
    if match:
        return _OutputFunction(match.group(1), match.group(2) or "")
    return _OutputFunction("bound_scores") if _BOUNDS.search(edit.after) else None


def _append_module(draft: Draft, source: SourceFile, sequential: cst.Call, function: _OutputFunction) -> None:
    class_name = _MODULES[function.name]
    last = sequential.args[-1].value if sequential.args else None
    if isinstance(last, cst.Call) and source.module_class(last.func) == class_name:
        return
    name = name_class(draft, source, sequential.func, class_name)
    change_arguments(draft, source, sequential, add=[f"{name}({function.keyword})"])


def _forward_of(project: Project, origins: ModuleOrigins, class_name: str) -> tuple[SourceFile, cst.FunctionDef]:
    """The forward of the network's class. Raises NotExpressible where other modules are of that class too."""
    if origins.paths_of_classes({class_name}) != [""]:
        raise NotExpressible(f"{class_name} is the class of other modules too")
    owners = [(source, each) for source in project.opened_files() for each in source.find_all(cst.ClassDef)]
    found = [(source, owner) for source, owner in owners if owner.name.value == class_name]
    if len(found) != 1:
        raise NotExpressible(f"no file is known that defines {class_name}")
    ((source, owner),) = found
    methods = [each for each in owner.body.body if isinstance(each, cst.FunctionDef) and each.name.value == "forward"]
    if len(methods) != 1:
        raise NotExpressible(f"{class_name} has no forward of its own")
    return source, methods[0]


def _wrap_returns(draft: Draft, source: SourceFile, forward: cst.FunctionDef, function: _OutputFunction) -> None:
    returns = [each for each in source.find_all(cst.Return, forward) if source.enclosing(each, cst.FunctionDef) is forward]
    if not returns:
        raise NotExpressible(f"line {source.line(forward)} returns nothing")
    for statement in returns:
        value = statement.value
        if value is None or isinstance(value, cst.Tuple | cst.Dict | cst.List):
            raise NotExpressible(f"line {source.line(statement)} does not return one tensor")
        if isinstance(value, cst.Call) and source.torch_function(value.func) == function.name:
            continue
        name = function.name
        if name in _MODULES and name != "bound_scores":
            torch = name_module(source, statement, "torch") or name_module(source, statement, "torch.nn.functional")
            if torch is None:
                raise NotExpressible(f"{source.path.name} imports no module of torch")
            name = f"{torch}.{name}"
        else:
            name = name_definition(draft, source, name)
        end = f", {function.keyword})" if function.keyword else ")"
        draft.replace(source, source.start(value), source.start(value), f"{name}(")
        draft.replace(source, source.end(value), source.end(value), end)
