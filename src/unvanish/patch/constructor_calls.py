"""Finds the calls in the user's source that built the modules which a plan alters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst as cst

from unvanish.patch.edits.name_lookups import choice_at
from unvanish.patch.module_expressions import parse_modules
from unvanish.patch.source.parsed_file import Project, SourceFile
from unvanish.patch.source.value_flow import ValueFlow
from unvanish.patch.text_replacements import Draft, NotExpressible
from unvanish.record.model_wrappers import WRAPPED_ATTRIBUTES
from unvanish.record.network_changes import Edit, ModuleOrigin, PatchContext

WEIGHTED = frozenset({"Linear", *(f"{name}{n}d" for name in ("Conv", "ConvTranspose") for n in (1, 2, 3))})
"""Classes of torch.nn whose layers have weights."""


@dataclass(frozen=True, slots=True)
class ConstructorLine:
    """A line of the user's source that built modules of a class."""

    file: str
    line: int
    class_name: str


@dataclass(frozen=True, slots=True)
class ConstructorCall:
    """A call that built modules of a network, and the edits of all of these, by path."""

    source: SourceFile
    call: cst.Call
    edits: Mapping[str, Edit]


class ModuleOrigins:
    """The lines that built a network's modules, by module path and by line."""

    def __init__(self, context: PatchContext, project: Project, *, source_changed: bool = False) -> None:
        """`source_changed` says that the source is not the one that was run, so that what a plan removes may be gone."""
        self._project, self.source_changed = project, source_changed
        root = next((origin.class_name for origin in context.origins if not origin.path), "")
        prefix = f"{WRAPPED_ATTRIBUTES[root]}." if root in WRAPPED_ATTRIBUTES else ""  # a plan is for what a wrapper runs
        self.by_path = {origin.path.removeprefix(prefix): origin for origin in context.origins if origin.path or not prefix}
        self.root = self.by_path.get("") or next((each for each in context.origins if prefix and f"{each.path}." == prefix), None)
        self.outside_classes = frozenset(origin.class_name for origin in context.outside_modules)
        self._outside_modules = context.outside_modules

    def line_of(self, draft: Draft, path: str) -> ConstructorLine:
        """The line that built the module at a path of the planned network. Raises NotExpressible where it is not known."""
        line = _constructor_line(self.by_path.get(draft.aliases.get(path, path)))
        if line is None:
            raise NotExpressible(f"no line of the source is known that builds {path!r}")
        return line

    def is_built_outside(self, origin: ModuleOrigin) -> bool:
        """Whether the line that built a module built one of its class outside of the network too."""
        return any((each.class_name, each.location) == (origin.class_name, origin.location) for each in self._outside_modules)

    def paths_built_at(self, line: ConstructorLine) -> list[str]:
        """The paths of the modules that a line built, in the network's order."""
        return [path for path, origin in self.by_path.items() if _constructor_line(origin) == line]

    def paths_of_classes(self, names: set[str]) -> list[str]:
        """The paths of the modules of some classes. Raises NotExpressible where modules outside of the network are of them too."""
        outside = sorted(origin.class_name for origin in self._outside_modules if origin.class_name in names)
        if outside:
            raise NotExpressible(f"{outside[0]} is used outside of the network too")
        return [path for path, origin in self.by_path.items() if origin.class_name in names]

    def calls_at(self, line: ConstructorLine, *later_classes: str) -> tuple[SourceFile, list[cst.Call]]:
        """The calls on a line that build its class: by its name, or by a value that is traced to it; where there are none, those
        that build one of `later_classes` already."""
        source = self._project[Path(line.file)]
        candidates = source.calls_at(line.line)
        for class_name in (line.class_name, *later_classes):
            calls = [call for call in candidates if source.module_class(call.func) == class_name]
            calls = calls or [call for call in candidates if self._traces_to(source, call, class_name)]
            if calls and class_name:
                return source, calls
        return source, []

    def paths_by_call(self, line: ConstructorLine, *later_classes: str) -> list[tuple[SourceFile, cst.Call, list[str]]]:
        """The calls on a line that build its class, or one of `later_classes` already, each with the paths of what it built.

        Several calls take turns, as a line is run from left to right. Raises NotExpressible where that does not come out even,
        where there is no such call, and where the line builds modules outside of the network too.
        """
        self._require_only_in_network(line)
        paths = self.paths_built_at(line)
        source, calls = self.calls_at(line, *later_classes)
        if not calls:
            raise NotExpressible(f"line {line.line} does not say {line.class_name}")
        if len(paths) % len(calls):
            raise NotExpressible(f"line {line.line} builds {len(paths)} of {line.class_name} in {len(calls)} places")
        return [(source, call, paths[index :: len(calls)]) for index, call in enumerate(calls)]

    def _require_only_in_network(self, line: ConstructorLine) -> None:
        if line in map(_constructor_line, self._outside_modules):
            raise NotExpressible(f"line {line.line} builds a {line.class_name} outside of the network too")

    def constructor_calls(self, draft: Draft, edits: Sequence[Edit]) -> list[ConstructorCall]:
        """The calls that built the modules of some edits.

        Raises NotExpressible where one of them built another module too, which none of the edits alters.
        """
        edits_by_path = {draft.aliases.get(edit.path, edit.path): edit for edit in edits}
        calls: list[ConstructorCall] = []
        for line in dict.fromkeys(self.line_of(draft, path) for path in edits_by_path):
            edited = [path for path in self.paths_built_at(line) if path in edits_by_path]
            is_removed = all(edits_by_path[path].action == "remove" for path in edited)
            if self.source_changed and is_removed and not self.calls_at(line)[1]:
                continue
            if edited == self.paths_built_at(line):
                calls += self._all_calls(line, edits_by_path)
            else:
                calls += self._edited_calls(line, edits_by_path)
        return calls

    def _all_calls(self, line: ConstructorLine, edits: Mapping[str, Edit]) -> list[ConstructorCall]:
        """The calls of a line of which all modules are altered. With equal edits, it does not matter which one built which."""
        self._require_only_in_network(line)
        paths = self.paths_built_at(line)
        later_classes = _later_classes(edits[paths[0]])
        source, calls = self.calls_at(line, *later_classes)
        if calls and len(paths) % len(calls) and len({(edits[path].action, edits[path].after) for path in paths}) == 1:
            return [ConstructorCall(source, call, {path: edits[path] for path in paths}) for call in calls]
        paths_by_call = self.paths_by_call(line, *later_classes)
        return [
            ConstructorCall(source, call, {path: edits[path] for path in paths}) for source, call, paths in paths_by_call if paths
        ]

    def _edited_calls(self, line: ConstructorLine, edits: Mapping[str, Edit]) -> list[ConstructorCall]:
        """The calls of a line of which some modules are altered: each call's modules all, or none."""
        edited_calls: list[ConstructorCall] = []
        later_classes = _later_classes(next(edits[path] for path in self.paths_built_at(line) if path in edits))
        for source, call, paths in self.paths_by_call(line, *later_classes):
            edited = [path for path in paths if path in edits]
            if edited and len(edited) != len(paths):
                raise NotExpressible(f"line {line.line} builds a {line.class_name} that stays as it is too")
            if edited:
                edited_calls.append(ConstructorCall(source, call, {path: edits[path] for path in paths}))
        return edited_calls

    def _traces_to(self, source: SourceFile, call: cst.Call, class_name: str) -> bool:
        """Whether a call is of a value that holds a class, such as a parameter."""
        if source.qualified_name(call.func):
            return False
        try:
            places = ValueFlow(self._project, self.is_module_class).origins(source, call.func)
        except NotExpressible:
            return False
        choices = [choice_at(self._project, *place) for place in places]
        return any(
            choice.key_for(class_name) is not None if choice is not None else where.module_class(node) == class_name
            for choice, (where, node) in zip(choices, places, strict=True)
        )

    def is_module_class(self, source: SourceFile, node: cst.BaseExpression) -> bool:
        """Whether an expression names a class of torch.nn, or chooses one by a string."""
        return bool(source.module_class(node)) or choice_at(self._project, source, node) is not None


def _constructor_line(origin: ModuleOrigin | None) -> ConstructorLine | None:
    if origin is None or origin.location is None or origin.through_library:
        return None
    return ConstructorLine(origin.location.file, origin.location.line, origin.class_name)


def _later_classes(edit: Edit) -> tuple[str, ...]:
    """The classes that a source may build already: what an earlier remedy put there, and what this one does."""
    before = parse_modules(edit.before)[0].class_name
    return (before, parse_modules(edit.after)[0].class_name.removesuffix("AsRNN")) if edit.action == "replace" else (before,)
