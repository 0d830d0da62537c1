"""A process that runs many small scripts: as they are, and with remedies that it planned on them and wrote into them.

`python rehearsing.py JOBS`: JOBS is a file with a list of jobs, each a folder with a train.py and the remedies to plan. The
results come beside it. It is a process of its own, since a script makes its process its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from unvanish.observe import Observer, Settings, facts_of
from unvanish.observe.first_call import FirstCall
from unvanish.observe.settings import StopTraining
from unvanish.patch import written
from unvanish.plugins.remedies import catalogue
from unvanish.record.change import ModuleOrigin, PatchContext, Plan
from unvanish.record.journal import Journal
from unvanish.record.serialisation import to_plain
from unvanish.remedies.plan import planned
from unvanish.trials.script.execution import Script, execute


def read(path: Path) -> str:
    return path.read_bytes().decode()


def blueprint_of(script: Path, candidates: list[list[str]]) -> PatchContext:
    """The blueprint of a script that runs to its first update, with a plan for each candidate."""
    found: list[PatchContext] = []

    def look(seen: FirstCall) -> None:
        inputs: Any = seen.kwargs if seen.kwargs and not seen.args else seen.args
        plans = [planned(seen.model, n, optimizers=seen.optimizers, inputs=inputs, catalogue=catalogue()) for n in candidates]
        kinds = {path: type(module).__name__ for path, module in seen.model.named_modules()}
        births = tuple(ModuleOrigin(path, kinds[path], place) for path, place in seen.births.items())
        found.append(PatchContext(seen.entry, births, tuple(plans), seen.others))

    journal = Journal.create(script.parent / "run.sqlite")
    observer = Observer(journal, facts_of("train.py", ()), settings=Settings(max_steps=1), look=look)
    observer.attach()
    try:
        losses_of(script, {}, stop=(StopTraining,))
    finally:
        observer.close("finished")
        journal.close()
        (script.parent / "run.sqlite").unlink()
    (one,) = found
    return one


def losses_of(script: Path, edits: dict[Path, str], stop: tuple[type[BaseException], ...] = ()) -> list[str]:
    """What a script prints: its losses. Raises AssertionError where it fails."""
    before, out, err = set(sys.modules), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        ending = execute(Script(script), edits=edits, stop=stop)
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(script.parent):
            del sys.modules[name]
    assert ending.code == 0, err.getvalue()
    return out.getvalue().splitlines()


def losses_or_none(script: Path, edits: dict[Path, str]) -> list[str]:
    """The losses, [] where there are no edits or the script fails with them: two networks share the place of the line."""
    try:
        return losses_of(script, edits) if edits else []
    except AssertionError as fault:
        if "trains no parameter" not in str(fault):
            raise
        return []


def handled(script: Path, blueprint: PatchContext, plan: Plan, spare: Path) -> dict[str, Any]:
    """What became of one plan: the new texts by name, and the losses of the trial, of the patched script alone, and of the remedies
    applied by a line alone."""
    if plan.refusal:
        return {"refusal": plan.refusal}
    texts = written(plan, blueprint, read)
    shutil.copytree(script.parent, spare)
    for path, text in texts.items():
        (spare / path.name).write_bytes(text.encode())
    result: dict[str, Any] = {
        "texts": {path.name: text for path, text in texts.items()},
        "trial": losses_of(script, texts),
        "alone": losses_of(spare / script.name, {}),
    }
    shutil.rmtree(spare)
    live = line_alone(plan, blueprint)
    result["in_place"] = live != texts
    result["live"] = result["trial"] if live == texts else losses_or_none(script, live)
    again = written(plan, blueprint, lambda path: texts.get(path) or read(path)) if result["in_place"] else {}
    return result | {"again": {path.name: text for path, text in again.items()}}


def line_alone(plan: Plan, blueprint: PatchContext) -> dict[Path, str]:
    """The script with nothing but the line that applies the remedies; {} where it cannot stand there."""
    from unvanish.errors import TrialError
    from unvanish.patch.apply_lines import applied_before, applied_behind, with_import

    entry = blueprint.entry
    if entry is None or any(step.needs_batch for step in plan.steps):
        return {}
    path, line = Path(entry.location.file), entry.location.line
    late = any(edit.path.startswith("optimizer") for step in plan.steps for edit in step.edits)
    try:
        text = (applied_behind if late else applied_before)(read(path), line, entry.expression, plan.remedies)
    except TrialError:
        return {}
    return {path: with_import(text)}


def main(jobs: Path) -> None:
    torch.set_num_threads(1)
    results: list[Any] = []
    for job in json.loads(jobs.read_text()):
        script = Path(job["folder"]) / "train.py"
        blueprint = blueprint_of(script, job["candidates"])
        told: dict[str, Any] = {"control": losses_of(script, {}), "blueprint": to_plain(blueprint)}
        for plan in blueprint.plans:
            try:
                told[" + ".join(plan.remedies)] = handled(script, blueprint, plan, Path(f"{job['folder']}-patched"))
            except Exception:
                told[" + ".join(plan.remedies)] = {"failure": traceback.format_exc()}
                shutil.rmtree(f"{job['folder']}-patched", ignore_errors=True)
        results.append(told)
    jobs.with_suffix(".results").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
