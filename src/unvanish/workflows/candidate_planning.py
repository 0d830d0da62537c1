"""A rehearsal: the script's first steps once more, in which every candidate is planned on a copy of the live network. It races
nothing.

`plan_all` runs in the trial's process, as what looks at the first step; `read` is for whoever asked for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unvanish.record.change import ModuleOrigin, PatchContext
from unvanish.record.serialisation import from_plain, to_plain

if TYPE_CHECKING:
    from unvanish.observe.first_call import FirstCall
    from unvanish.trials import Trial

LOOK = "unvanish.workflows.candidate_planning:plan_all"
BLUEPRINT = "blueprint.json"
STEPS = 10  # enough to see that the same seed gives the same losses


def plan_all(seen: FirstCall, trial: Trial) -> None:
    """Writes the blueprint of the network that ran, with a plan for each of the trial's candidates, into the trial's folder."""
    from unvanish.plugins.remedies import catalogue
    from unvanish.remedies.plan import planned

    inputs: Any = seen.kwargs if seen.kwargs and not seen.args else seen.args
    plans = [
        planned(seen.model, names, optimizers=seen.optimizers, inputs=inputs, catalogue=catalogue()) for names in trial.candidates
    ]
    kinds = {path: type(module).__name__ for path, module in seen.model.named_modules()}
    births = tuple(ModuleOrigin(path, kinds[path], place) for path, place in seen.births.items())
    text = json.dumps(to_plain(PatchContext(seen.entry, births, tuple(plans), seen.others)))
    (trial.folder / BLUEPRINT).write_text(text, encoding="utf-8")


def read(folder: Path) -> PatchContext | None:
    """What a rehearsal in that folder wrote; None where it did not come to its first update."""
    path = folder / BLUEPRINT
    return from_plain(PatchContext, json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
