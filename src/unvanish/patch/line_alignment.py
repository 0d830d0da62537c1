"""A blueprint's lines in a source that has had lines put in since: what a patch itself has put there, above all."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from unvanish.patch.source.statements import lines_of
from unvanish.record.change import CallExchange, Edit, ModuleOrigin, PatchContext, Plan, PlanStep, SourcePoint
from unvanish.record.structure import Location

_FURTHEST = 24  # lines by which a place may have moved further down than the one before it
_FURTHEST_UP = 6  # and up, where lines went
_LIKE = 0.3  # the least similarity of a line that was edited

_NAMES = re.compile(r"([A-Za-z_]\w*)\(")

Moved = Mapping[str, Mapping[int, int]]
"""The lines where things stand now, by file and by line of the blueprint."""


def aligned(plan: Plan, blueprint: PatchContext, read: Callable[[Path], str]) -> tuple[Plan, PatchContext, bool]:
    """The plan and the blueprint with the lines that the source has now, and whether it is another than the one that was run."""
    entries = [blueprint.entry.location] if blueprint.entry is not None else []
    births = [birth.location for birth in (*blueprint.births, *blueprint.others) if birth.location is not None]
    calls = [
        Location(call.points[-1].file, call.points[-1].line, call.text)
        for step in plan.steps
        for edit in step.edits
        for call in edit.calls
    ]
    known: dict[str, dict[int, str]] = {}
    for place in (each for each in (*entries, *births, *calls) if each.text):
        known.setdefault(place.file, {}).setdefault(place.line, place.text)
    sources = {file: [line.strip() for line in lines_of(read(Path(file)))] for file in known}
    if all(_text(sources[file], line) == text for file, texts in known.items() for line, text in texts.items()):
        return plan, blueprint, False
    words = _words(plan, blueprint)
    moved = {file: _moved(dict(sorted(texts.items())), sources[file], words.get(file, {})) for file, texts in known.items()}
    entry = blueprint.entry
    now = replace(
        blueprint,
        entry=replace(entry, location=_location(entry.location, moved)) if entry is not None else None,
        births=tuple(_birth(birth, moved) for birth in blueprint.births),
        others=tuple(_birth(birth, moved) for birth in blueprint.others),
    )
    return replace(plan, steps=tuple(_step(step, moved) for step in plan.steps)), now, True


def _words(plan: Plan, blueprint: PatchContext) -> dict[str, dict[int, set[str]]]:
    """What a line may say by now, by file and line: the names of the modules and functions that the edits put there."""
    found: dict[str, dict[int, set[str]]] = {}
    edits = [edit for step in plan.steps for edit in step.edits]
    for birth in blueprint.births:
        own = [edit for edit in edits if f"{edit.path}.".startswith(f"{birth.path}.") and not edit.calls]
        for edit in own if birth.location is not None else ():
            names = [name.removesuffix("AsRNN") for name in _NAMES.findall(edit.after)]
            if birth.location is not None and names:
                found.setdefault(birth.location.file, {}).setdefault(birth.location.line, set()).add(names[-1])
    for call in (call for edit in edits for call in edit.calls):
        point = call.points[-1]
        found.setdefault(point.file, {}).setdefault(point.line, set()).add(call.after.partition("(")[0])
    return found


def _moved(texts: Mapping[int, str], lines: list[str], words: Mapping[int, set[str]]) -> dict[int, int]:
    """Where each line stands now: the same text, behind the one before it, or else a line that has the words of its edits, or is
    much like it."""
    found: dict[int, int] = {}
    shift = last = 0
    for line, text in texts.items():
        shifts = (*range(shift, shift + _FURTHEST), *range(shift - 1, shift - _FURTHEST_UP, -1))
        at = next((line + s for s in shifts if line + s > last and _text(lines, line + s) == text), None)
        if at is not None:
            found[line], shift, last = at, at - line, at
    shift = 0
    for line, text in texts.items():
        if line in found:
            shift = found[line] - line
            continue
        later = next((new - old for old, new in found.items() if old > line), shift + _FURTHEST_UP // 2)
        among = range(line + min(shift, later), line + max(shift, later) + 1)
        scores = {at: _score(_text(lines, at), text, words.get(line, set())) for at in among}
        best = max(among, key=lambda at: scores[at])
        found[line] = best if scores[best] >= _LIKE else line + shift
        shift = found[line] - line
    return found


def _text(lines: list[str], line: int) -> str | None:
    return lines[line - 1] if 0 < line <= len(lines) else None


def _score(now: str | None, before: str, words: set[str]) -> float:
    """How well a line fits one that was edited: the words of the edits that it has, and, less than one, how alike the two are."""
    if now is None:
        return 0.0
    return sum(f"{word}(" in now for word in words) + difflib.SequenceMatcher(None, now, before, autojunk=False).ratio()


def _line(file: str, line: int, moved: Moved) -> int:
    return moved.get(file, {}).get(line, line)


def _location(place: Location, moved: Moved) -> Location:
    return replace(place, line=_line(place.file, place.line, moved))


def _birth(birth: ModuleOrigin, moved: Moved) -> ModuleOrigin:
    return birth if birth.location is None else replace(birth, location=_location(birth.location, moved))


def _step(step: PlanStep, moved: Moved) -> PlanStep:
    return replace(step, edits=tuple(_edit(edit, moved) for edit in step.edits))


def _edit(edit: Edit, moved: Moved) -> Edit:
    return replace(edit, calls=tuple(_call(call, moved) for call in edit.calls)) if edit.calls else edit


def _call(call: CallExchange, moved: Moved) -> CallExchange:
    return replace(call, points=tuple(_point(point, moved) for point in call.points))


def _point(point: SourcePoint, moved: Moved) -> SourcePoint:
    return replace(point, line=_line(point.file, point.line, moved))
