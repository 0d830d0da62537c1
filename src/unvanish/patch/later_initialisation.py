"""Finds the lines of a program that draw a network's weights after it was built, so that values set before would be lost."""

from __future__ import annotations

from pathlib import Path

import libcst as cst

from unvanish.patch.source.parsed_file import Project, SourceFile
from unvanish.record.network_changes import ModuleOrigin

_DRAWING_METHODS = frozenset(
    {"normal_", "uniform_", "fill_", "zero_", "copy_", "mul_", "div_", "trunc_normal_", "log_normal_", "reset_parameters"}
)
_WEIGHT_WORDS = ("weight", "bias", "param", ".data", "reset_parameters")

SourceLine = tuple[SourceFile, int]


def later_drawing_lines(project: Project, root: ModuleOrigin) -> list[SourceLine]:
    """The lines outside of all classes that draw weights once the network `root` is built, or call what does.

    Such are `net.apply(init)`, `init(net)` and `net.init_weights()`, where `init` draws, or calls a function that does. A function
    that draws and is only called inside of a class does so before its constructor ends.
    """
    built = root.location
    builders = {
        function.name.value
        for source in project.opened_files()
        for function in source.find_all(cst.FunctionDef)
        if built is not None and Path(built.file) == source.path and source.covers(function, built.line)
    }
    drawing = drawing_functions(project, root.class_name) - builders
    lines = [line for source in project.opened_files() for line in _lines_outside(source, drawing, builders)]
    return [(source, line) for source, line in lines if not _is_before(source, line, root)]


def drawing_functions(project: Project, class_name: str) -> set[str]:
    """The names of the functions that draw weights, or call those that do, and of such methods of the network's class."""
    names: set[str] = set()
    calls = [(source, node, *_function_around(source, node)) for source in project.opened_files() for node in _relevant(source)]
    while True:
        found = {
            function
            for source, node, function, owner in calls
            if function and owner in ("", class_name) and function not in ("__init__", "forward") and _draws(source, node, names)
        }
        if found <= names:
            return names
        names |= found


def _relevant(source: SourceFile) -> list[cst.BaseExpression]:
    return [each for each in source.find_all(cst.BaseExpression) if isinstance(each, cst.Call | cst.Attribute | cst.Name)]


def _function_around(source: SourceFile, node: cst.CSTNode) -> tuple[str, str]:
    """The names of the function and of the class around a node; "" where there is none."""
    function, owner = source.enclosing(node, cst.FunctionDef), source.enclosing(node, cst.ClassDef)
    return function.name.value if function is not None else "", owner.name.value if owner is not None else ""


def _draws(source: SourceFile, node: cst.BaseExpression, drawing: set[str]) -> bool:
    """Whether an expression draws or sets a weight in place, or refers to a function that does."""
    if isinstance(node, cst.Call):
        code = source.code_of(node.func)
        is_method = code.rpartition(".")[2] in _DRAWING_METHODS and any(word in code for word in _WEIGHT_WORDS)
        return is_method or source.qualified_name(node.func).startswith("torch.nn.init.")
    if isinstance(node, cst.Attribute):
        return node.attr.value in drawing
    is_definition = isinstance(source.parent(node), cst.FunctionDef | cst.ImportAlias | cst.Param)
    return isinstance(node, cst.Name) and node.value in drawing and not is_definition


def _lines_outside(source: SourceFile, drawing: set[str], builders: set[str]) -> list[SourceLine]:
    """The lines outside of classes, in no function or in one that builds the network, that draw weights."""
    lines: dict[int, None] = {}
    for node in _relevant(source):
        function, owner = _function_around(source, node)
        if not owner and (not function or function in builders) and _draws(source, node, drawing):
            lines[source.line(node)] = None
    return [(source, line) for line in lines]


def _is_before(source: SourceFile, line: int, root: ModuleOrigin) -> bool:
    """Whether a line runs before the network is built: it stands above, in the same function or outside of all."""
    built = root.location
    return built is not None and Path(built.file) == source.path and line < built.line
