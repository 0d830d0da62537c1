"""Finds the lines of a patch context in a source that was edited since it ran, above all by a patch itself."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from unvanish.patch.source.definitions import defined_rows
from unvanish.patch.source.statements import split_lines
from unvanish.record.network_changes import CallExchange, Edit, ModuleOrigin, PatchContext, Plan, PlanStep, SourcePoint
from unvanish.record.structure import Location

_MOST_LINES_DOWN = 24  # by which a line may have moved further down than the one before it
_MOST_LINES_UP = 6  # and further up, where lines were removed
_LEAST_SIMILARITY = 0.3  # of a line to what it was before it was edited

_CERTAIN = 10.0  # more than the names that a line is expected to call
_RETURN = "return "

_CALLED_NAMES = re.compile(r"([A-Za-z_]\w*)\(")

MovedLines = Mapping[str, Mapping[int, int]]
"""Present line numbers by file and by line number of the context."""


def align_lines(plan: Plan, context: PatchContext, read: Callable[[Path], str]) -> tuple[Plan, PatchContext, bool]:
    """The plan and the context with present line numbers, and whether the source differs from the one that was run."""
    known = _known_lines(plan, context)
    texts_by_file = {file: split_lines(read(Path(file))) for file in known}
    sources = {file: [line.strip() for line in lines] for file, lines in texts_by_file.items()}
    if all(_text_of_line(sources[file], line) == text for file, texts in known.items() for line, text in texts.items()):
        return plan, context, False
    names = _expected_names(plan, context)
    moved = {
        file: _match_around_definitions(dict(sorted(texts.items())), texts_by_file[file], names.get(file, {}))
        for file, texts in known.items()
    }
    entry = context.entry
    aligned_context = replace(
        context,
        entry=replace(entry, location=_moved_location(entry.location, moved)) if entry is not None else None,
        origins=tuple(_moved_origin(origin, moved) for origin in context.origins),
        outside_modules=tuple(_moved_origin(origin, moved) for origin in context.outside_modules),
    )
    return replace(plan, steps=tuple(_moved_step(step, moved) for step in plan.steps)), aligned_context, True


def _known_lines(plan: Plan, context: PatchContext) -> dict[str, dict[int, str]]:
    """The text of each line that the plan and the context refer to, by file and line number."""
    entries = [context.entry.location] if context.entry is not None else []
    origins = [origin.location for origin in (*context.origins, *context.outside_modules) if origin.location is not None]
    calls = [
        Location(call.points[-1].file, call.points[-1].line, call.text)
        for step in plan.steps
        for edit in step.edits
        for call in edit.calls
    ]
    lines: dict[str, dict[int, str]] = {}
    for location in (each for each in (*entries, *origins, *calls) if each.text):
        lines.setdefault(location.file, {}).setdefault(location.line, location.text)
    return lines


def _expected_names(plan: Plan, context: PatchContext) -> dict[str, dict[int, set[str]]]:
    """The modules and functions that the edits put into a line, by file and line number: it may call them by now."""
    names: dict[str, dict[int, set[str]]] = {}
    edits = [edit for step in plan.steps for edit in step.edits]
    for origin in context.origins:
        own = [edit for edit in edits if f"{edit.path}.".startswith(f"{origin.path}.") and not edit.calls]
        for edit in own if origin.location is not None else ():
            called = [name.removesuffix("AsRNN") for name in _CALLED_NAMES.findall(edit.after)]
            if origin.location is not None and called:
                names.setdefault(origin.location.file, {}).setdefault(origin.location.line, set()).update(called)
    for call in (call for edit in edits for call in edit.calls):
        point = call.points[-1]
        names.setdefault(point.file, {}).setdefault(point.line, set()).update(_written_names(call.after))
    return names


def _written_names(after: str) -> set[str]:
    """The functions that a line may call once a call in it became `after`; the argument of a bounded one is bounded."""
    name = after.partition("(")[0]
    return {"bound_scores", "bound_scores_below"} if name.startswith("bounded_") else {name}


def _match_around_definitions(texts: Mapping[int, str], lines: list[str], names: Mapping[int, set[str]]) -> dict[int, int]:
    """As `_match_lines`, but no line is sought in the definitions that a patch has written into the source."""
    defined = defined_rows(lines)
    rows = [row for row in range(1, len(lines) + 1) if row not in defined]
    matches = _match_lines(texts, [lines[row - 1].strip() for row in rows], names)
    return {line: rows[match - 1] if 0 < match <= len(rows) else match for line, match in matches.items()}


def _match_lines(texts: Mapping[int, str], lines: list[str], names: Mapping[int, set[str]]) -> dict[int, int]:
    """The present number of each line: of the same text behind the one before it, or else of a line that calls the names which its
    edits put there, or is similar to it."""
    matches: dict[int, int] = {}
    shift = last = 0
    for line, text in texts.items():
        shifts = (*range(shift, shift + _MOST_LINES_DOWN), *range(shift - 1, shift - _MOST_LINES_UP, -1))
        match = next((line + s for s in shifts if line + s > last and _text_of_line(lines, line + s) == text), None)
        if match is not None:
            matches[line], shift, last = match, match - line, match
    shift = 0
    for line, text in texts.items():
        if line in matches:
            shift = matches[line] - line
            continue
        next_shift = next((new - old for old, new in matches.items() if old > line), shift + _MOST_LINES_UP // 2)
        candidates = range(line + min(shift, next_shift), line + max(shift, next_shift) + 1)
        scores = {number: _similarity(_text_of_line(lines, number), text, names.get(line, set())) for number in candidates}
        best = max(candidates, key=lambda number: scores[number])
        matches[line] = best if scores[best] >= _LEAST_SIMILARITY else line + shift
        shift = matches[line] - line
    return matches


def _text_of_line(lines: list[str], line: int) -> str | None:
    return lines[line - 1] if 0 < line <= len(lines) else None


def _similarity(now: str | None, before: str, names: set[str]) -> float:
    """How well a line fits one that was edited: the number of expected names that it calls, plus a similarity from 0 to 1."""
    if now is None:
        return 0.0
    if before.startswith(_RETURN) and now.endswith(f" = {before.removeprefix(_RETURN)}"):  # what was returned got a name
        return _CERTAIN
    return sum(f"{name}(" in now for name in names) + difflib.SequenceMatcher(None, now, before, autojunk=False).ratio()


def _moved_line(file: str, line: int, moved: MovedLines) -> int:
    return moved.get(file, {}).get(line, line)


def _moved_location(location: Location, moved: MovedLines) -> Location:
    return replace(location, line=_moved_line(location.file, location.line, moved))


def _moved_origin(origin: ModuleOrigin, moved: MovedLines) -> ModuleOrigin:
    return origin if origin.location is None else replace(origin, location=_moved_location(origin.location, moved))


def _moved_step(step: PlanStep, moved: MovedLines) -> PlanStep:
    return replace(step, edits=tuple(_moved_edit(edit, moved) for edit in step.edits))


def _moved_edit(edit: Edit, moved: MovedLines) -> Edit:
    return replace(edit, calls=tuple(_moved_call(call, moved) for call in edit.calls)) if edit.calls else edit


def _moved_call(call: CallExchange, moved: MovedLines) -> CallExchange:
    return replace(call, points=tuple(_moved_point(point, moved) for point in call.points))


def _moved_point(point: SourcePoint, moved: MovedLines) -> SourcePoint:
    return replace(point, line=_moved_line(point.file, point.line, moved))
