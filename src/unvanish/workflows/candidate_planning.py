"""Plans candidates on the live network: the script's first steps run once more, and each candidate is planned on a copy.

`plan_all` runs in the trial's process, in place of the trace at the first step; `read_context` reads what it wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unvanish.project_files import current_project
from unvanish.record.network_changes import PatchContext
from unvanish.record.storage.serialisation import from_plain, to_plain
from unvanish.trials.isolation.workplace import restore_user_paths

if TYPE_CHECKING:
    from unvanish.observe.first_network_call import FirstCall
    from unvanish.trials import Trial

PLANNING_FUNCTION = "unvanish.workflows.candidate_planning:plan_all"
CONTEXT_FILE = "patch_context.json"
STEPS = 10  # enough to see that the same seed gives the same losses


def plan_all(call: FirstCall, trial: Trial) -> None:
    """Writes the context of a patch, with a plan for each of the trial's combinations of remedies, into the trial's folder."""
    from unvanish.plugins.remedies import catalogue
    from unvanish.remedies.plan import plan_remedies

    inputs: Any = call.kwargs if call.kwargs and not call.args else call.args
    plans = [
        plan_remedies(call.model, names, optimizers=call.optimizers, inputs=inputs, catalogue=catalogue())
        for names in trial.combinations
    ]
    folders = tuple(map(str, current_project().folders))
    context = PatchContext(call.entry, call.origins, tuple(plans), call.outside_modules, folders)
    (trial.folder / CONTEXT_FILE).write_text(json.dumps(to_plain(context)), encoding="utf-8")


def read_context(folder: Path) -> PatchContext | None:
    """What the planning in that folder wrote; None where the script did not come to its first update."""
    path = folder / CONTEXT_FILE
    if not path.is_file():
        return None
    text = restore_user_paths(
        folder, path.read_text(encoding="utf-8")
    )  # a process that the script starts runs in the mirror itself
    return from_plain(PatchContext, json.loads(text))
