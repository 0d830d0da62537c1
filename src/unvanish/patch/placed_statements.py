"""Inserts statements about a network at the best place for them, once, with names that mean nothing else there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from unvanish.patch.module_loops import LoopNames
from unvanish.patch.network_places import NetworkPlace
from unvanish.patch.text_replacements import Draft, NotExpressible

_ASSIGNED = re.compile(r"^ *(?:for )?(?:(\w+), )?(\w+) (?:in|=) ")
_LOOP_NAMES = (
    LoopNames("module", "layer", "block", "index"),
    LoopNames("each", "sub_layer", "sub_block", "position"),
    LoopNames("_module", "_layer", "_block", "_index"),
)

WriteStatements = Callable[[Draft, NetworkPlace, LoopNames], list[str]]
"""Gives the lines for a place. The draft gets the imports that they need. Raises NotExpressible where they cannot stand there."""


def place_statements(
    draft: Draft, places: Iterable[NetworkPlace], write: WriteStatements, *, require: Callable[[], None] = lambda: None
) -> None:
    """Inserts the lines at the first place that can have them, unless they stand at one of the places already.

    Arguments:
        draft: gets the lines and their imports.
        places: places for the statements, best first.
        write: gives the lines for a place.
        require: raises NotExpressible where the lines may not be inserted; it is not called where they are there.

    Raises:
        NotExpressible: no place can have them.
    """
    reason = NotExpressible("no line is known where the whole network is built")
    attempts: list[tuple[bool, Draft, NetworkPlace, list[str]]] = []
    for place in places:
        try:
            for names in _LOOP_NAMES:
                attempt = draft.copy()
                lines = write(attempt, place, names)
                if place.has(lines):
                    return
                hides_name = _hides_any(place, lines)
                if place.ends_function or not hides_name:
                    attempts.append((hides_name, attempt, place, lines))
        except NotExpressible as fault:
            reason = fault
    if not attempts:
        raise reason
    require()
    _, attempt, place, lines = min((each for each in attempts if each[2] is attempts[0][2]), key=lambda each: each[0])
    place.insert(attempt, lines)
    draft.adopt(attempt)


def _hides_any(place: NetworkPlace, lines: Sequence[str]) -> bool:
    """Whether some lines assign a name that means something else at a place."""
    assigned = {name for line in lines for names in _ASSIGNED.findall(line) for name in names if name}
    return any(place.source.assignments(name, place.scope) for name in assigned)
