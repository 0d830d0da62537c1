"""Puts an `unvanish.apply` line where the network is built, so that whoever builds the network gets the remedies."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from unvanish.errors import ScriptError, TrialError
from unvanish.patch.apply_call_line import IMPORT, apply_call
from unvanish.patch.constructor_calls import ModuleOrigins
from unvanish.patch.edits.insertions import require_no_loading
from unvanish.patch.network_places import NetworkPlace, network_places
from unvanish.patch.source.parsed_file import Project, SourceFile
from unvanish.patch.text_replacements import Draft, ImportRequest, NotExpressible
from unvanish.record.network_changes import PlanStep


def apply_where_built(
    draft: Draft, project: Project, origins: ModuleOrigins, steps: Sequence[PlanStep], remedies: Sequence[str]
) -> bool:
    """Whether a line that applies the remedies stands where the network is built, which it does from then on.

    It stays away where the program does something to the network before it builds the optimizer that the remedies must see:
    weights that it loads, and parameters that it freezes.

    Arguments:
        draft: gets the line.
        project: the user's files.
        origins: the lines that built the network's modules.
        steps: the steps of the plan that the remedies belong to.
        remedies: names of the remedies, in order.
    """
    paths = list(dict.fromkeys(edit.path for step in steps if step.remedy in remedies for edit in step.edits))
    try:
        require_no_loading(project)
        place = next(network_places(project, origins, None, paths), None)
    except (NotExpressible, ScriptError, TrialError):
        return False
    if place is None or any(_freezes(source) for source in project.opened_files()):
        return False
    line = apply_call(place.expression, remedies)
    if not place.has([line]):
        place.insert(draft, [line])
        _import_unvanish(draft, place)
    return True


def _freezes(source: SourceFile) -> bool:
    """Whether code of a file sets whether parameters are trained."""
    return any(each.attr.value in ("requires_grad", "requires_grad_") for each in source.find_all(cst.Attribute))


def _import_unvanish(draft: Draft, place: NetworkPlace) -> None:
    if not any(place.source.assignments("unvanish", place.scope)):
        draft.request_import(place.source.path, ImportRequest(IMPORT))
