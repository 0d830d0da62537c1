"""Which calls in the user's source built the modules that a plan alters. It edits nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst as cst

from unvanish.patch.draft import Draft, Unsayable
from unvanish.patch.edits.choices import choice_at
from unvanish.patch.module_spelling import modules_of
from unvanish.patch.source.parsed_file import Project, Source
from unvanish.patch.source.value_flow import Flow
from unvanish.record.change import Edit, ModuleOrigin, PatchContext

WEIGHTED = frozenset({"Linear", *(f"{kind}{n}d" for kind in ("Conv", "ConvTranspose") for n in (1, 2, 3))})


_WRAPPERS = {"DataParallel": "module.", "OptimizedModule": "_orig_mod."}
"""Modules that only run another, under this path: a plan is for what they run."""


@dataclass(frozen=True, slots=True)
class Building:
    """A call that built modules of a network, and the edits of all of these, by path."""

    source: Source
    call: cst.Call
    edits: Mapping[str, Edit]


class Births:
    """The births of a network's modules, by path and by place."""

    def __init__(self, blueprint: PatchContext, project: Project, *, edited: bool = False) -> None:
        """`edited` tells that the source is not the one that was run, so that what a plan removes may be gone."""
        self._project, self.edited = project, edited
        root = next((birth.class_name for birth in blueprint.births if not birth.path), "")
        prefix = _WRAPPERS.get(root, "")
        self.by_path = {birth.path.removeprefix(prefix): birth for birth in blueprint.births if birth.path or not prefix}
        self._others = blueprint.others

    def birth(self, draft: Draft, path: str) -> ModuleOrigin:
        """How the module at a path of the planned network was built. Raises Unsayable where the user's source does not tell."""
        birth = self.by_path.get(draft.aliases.get(path, path))
        if birth is None or birth.location is None:
            raise Unsayable(f"no line of the source is known that builds {path!r}")
        return birth

    def at(self, file: str, line: int, kind: str) -> list[str]:
        """The paths of the modules of a class that a line built, in the network's order."""
        return [
            path
            for path, birth in self.by_path.items()
            if birth.location is not None and (birth.location.file, birth.location.line, birth.class_name) == (file, line, kind)
        ]

    def of_classes(self, names: set[str]) -> list[str]:
        """The paths of the modules of some classes. Raises Unsayable where others of these classes live outside of the network."""
        strangers = sorted(birth.class_name for birth in self._others if birth.class_name in names)
        if strangers:
            raise Unsayable(f"{strangers[0]} is used outside of the network too")
        return [path for path, birth in self.by_path.items() if birth.class_name in names]

    def calls(self, file: str, line: int, kind: str, *later: str) -> tuple[Source, list[cst.Call]]:
        """The calls on a line that build modules of a class: by its name, or by a value that is traced to it; where there are
        none, those that build a `later` class already."""
        source = self._project[Path(file)]
        here = source.calls_at(line)
        for each in (kind, *later):
            found = [call for call in here if source.module_class(call.func) == each]
            found = found or [call for call in here if self._holds(source, call, each)]
            if found and each:
                return source, found
        return source, []

    def built_by(self, file: str, line: int, kind: str, *later: str) -> list[tuple[Source, cst.Call, list[str]]]:
        """The calls on a line that build modules of a class, or a `later` one already, each with the paths of what it built.

        Several calls take turns, as a line is run from left to right. Raises Unsayable where that does not come out even, where
        there is no such call, and where the line builds modules outside of the network too.
        """
        self._require_own(file, line, kind)
        paths = self.at(file, line, kind)
        source, calls = self.calls(file, line, kind, *later)
        if not calls:
            raise Unsayable(f"line {line} does not say {kind}")
        if len(paths) % len(calls):
            raise Unsayable(f"line {line} builds {len(paths)} of {kind} in {len(calls)} places")
        return [(source, call, paths[turn :: len(calls)]) for turn, call in enumerate(calls)]

    def _require_own(self, file: str, line: int, kind: str) -> None:
        places = [(b.location.file, b.location.line, b.class_name) for b in self._others if b.location is not None]
        if (file, line, kind) in places:
            raise Unsayable(f"line {line} builds a {kind} outside of the network too")

    def buildings(self, draft: Draft, edits: Sequence[Edit]) -> list[Building]:
        """The calls that built the modules of some edits.

        Raises Unsayable where one of them built another module too, which none of the edits alters.
        """
        wanted = {draft.aliases.get(edit.path, edit.path): edit for edit in edits}
        places: dict[tuple[str, int, str], None] = {}
        for path in wanted:
            birth = self.birth(draft, path)
            if birth.location is not None:
                places[birth.location.file, birth.location.line, birth.class_name] = None
        found: list[Building] = []
        for place in places:
            removes = all(wanted[path].action == "remove" for path in self.at(*place) if path in wanted)
            if self.edited and removes and not self.calls(*place)[1]:
                continue
            if all(path in wanted for path in self.at(*place)):
                found += self._whole(*place, wanted)
            else:
                found += self._turns(*place, wanted)
        return found

    def _whole(self, file: str, line: int, kind: str, wanted: Mapping[str, Edit]) -> list[Building]:
        """All that a line built is altered. Where the edits are all alike, it does not matter which of them a call belongs to."""
        self._require_own(file, line, kind)
        paths = self.at(file, line, kind)
        later = _later(wanted[paths[0]])
        source, calls = self.calls(file, line, kind, *later)
        if calls and len(paths) % len(calls) and len({(wanted[path].action, wanted[path].after) for path in paths}) == 1:
            return [Building(source, call, {path: wanted[path] for path in paths}) for call in calls]
        turns = self.built_by(file, line, kind, *later)
        return [Building(source, call, {path: wanted[path] for path in paths}) for source, call, paths in turns if paths]

    def _turns(self, file: str, line: int, kind: str, wanted: Mapping[str, Edit]) -> list[Building]:
        """Some of what a line built is altered: whole calls of it, or nothing."""
        found: list[Building] = []
        later = _later(next(wanted[path] for path in self.at(file, line, kind) if path in wanted))
        for source, call, paths in self.built_by(file, line, kind, *later):
            touched = [path for path in paths if path in wanted]
            if touched and len(touched) != len(paths):
                raise Unsayable(f"line {line} builds a {kind} that stays as it is too")
            if touched:
                found.append(Building(source, call, {path: wanted[path] for path in paths}))
        return found

    def _holds(self, source: Source, call: cst.Call, kind: str) -> bool:
        if source.qualified(call.func):
            return False
        try:
            origins = Flow(self._project, self.told).origins(source, call.func)
        except Unsayable:
            return False
        choices = [choice_at(self._project, *place) for place in origins]
        return any(
            choice.word_for(kind) is not None if choice is not None else where.module_class(node) == kind
            for choice, (where, node) in zip(choices, origins, strict=True)
        )

    def told(self, source: Source, node: cst.BaseExpression) -> bool:
        """Whether an expression names a class of torch.nn, or has a word choose one."""
        return bool(source.module_class(node)) or choice_at(self._project, source, node) is not None


def _later(edit: Edit) -> tuple[str, ...]:
    """The classes that a source may build already: what an earlier remedy put there, and what this one does."""
    before = modules_of(edit.before)[0].kind
    return (before, modules_of(edit.after)[0].kind.removesuffix("AsRNN")) if edit.action == "replace" else (before,)
