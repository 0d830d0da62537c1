"""A process that runs many small scripts: as they are, and with remedies that it planned on them and wrote into them.

`python patch_process.py JOBS`: JOBS is a file with a list of jobs, each a folder with a train.py and the remedies to plan. The
results are written beside it. It is a process of its own, since a script changes the process that runs it.
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

from unvanish.errors import TrialError
from unvanish.observe import Observer, Settings, collect_facts
from unvanish.observe.first_network_call import FirstCall
from unvanish.observe.settings import StopTraining
from unvanish.patch import edit_sources, insert_apply_after_optimizer, insert_apply_before_optimizer
from unvanish.plugins.remedies import catalogue
from unvanish.record.network_changes import EditTarget, PatchContext, Plan
from unvanish.record.storage.journal import Journal
from unvanish.record.storage.serialisation import to_plain
from unvanish.remedies.plan import plan_remedies
from unvanish.trials.script.execution import Script, execute


def read(path: Path) -> str:
    return path.read_bytes().decode()


def patch_context_of(script: Path, candidates: list[list[str]]) -> PatchContext:
    """The patch context of a script that runs to its first update, with a plan for each candidate."""
    contexts: list[PatchContext] = []

    def plan_candidates(call: FirstCall) -> None:
        inputs: Any = call.kwargs if call.kwargs and not call.args else call.args
        plans = [plan_remedies(call.model, n, optimizers=call.optimizers, inputs=inputs, catalogue=catalogue()) for n in candidates]
        contexts.append(PatchContext(call.entry, call.origins, tuple(plans), call.outside_modules))

    journal = Journal.create(script.parent / "run.sqlite")
    observer = Observer(journal, collect_facts("train.py", ()), settings=Settings(max_steps=1), examine=plan_candidates)
    observer.attach()
    try:
        losses_of(script, {}, stop_exceptions=(StopTraining,))
    finally:
        observer.close("finished")
        journal.close()
        (script.parent / "run.sqlite").unlink()
    (context,) = contexts
    return context


def losses_of(script: Path, edits: dict[Path, str], stop_exceptions: tuple[type[BaseException], ...] = ()) -> list[str]:
    """What a script prints: its losses. Raises AssertionError where it fails."""
    modules, out, err = set(sys.modules), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        script_exit = execute(Script(script), edits=edits, stop_exceptions=stop_exceptions)
    for name in set(sys.modules) - modules:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(script.parent):
            del sys.modules[name]
    assert script_exit.code == 0, err.getvalue()
    return out.getvalue().splitlines()


def losses_or_none(script: Path, edits: dict[Path, str]) -> list[str]:
    """The losses, [] where there are no edits or the script fails with them: two networks share the place of the line."""
    try:
        return losses_of(script, edits) if edits else []
    except AssertionError as fault:
        if "trains no parameter" not in str(fault):
            raise
        return []


def patch_result(script: Path, context: PatchContext, plan: Plan, copy_folder: Path) -> dict[str, Any]:
    """The result of one plan: the new texts by name, and the losses of the trial, of the patched script alone, and of the script
    with nothing but the line that applies the remedies."""
    if plan.refusal:
        return {"refusal": plan.refusal}
    texts = edit_sources(plan, context, read)
    shutil.copytree(script.parent, copy_folder)
    for path, text in texts.items():
        (copy_folder / path.name).write_bytes(text.encode())
    result: dict[str, Any] = {
        "texts": {path.name: text for path, text in texts.items()},
        "trial": losses_of(script, texts),
        "alone": losses_of(copy_folder / script.name, {}),
    }
    shutil.rmtree(copy_folder)
    line_texts = texts_with_line(plan, context)
    result["in_place"] = line_texts != texts
    result["applied"] = result["trial"] if line_texts == texts else losses_or_none(script, line_texts)
    again = edit_sources(plan, context, lambda path: texts.get(path) or read(path)) if result["in_place"] else {}
    return result | {"again": {path.name: text for path, text in again.items()}}


def texts_with_line(plan: Plan, context: PatchContext) -> dict[Path, str]:
    """The script with nothing but the line that applies the remedies; {} where it cannot stand there."""
    entry = context.entry
    if entry is None or any(step.needs_batch for step in plan.steps):
        return {}
    path, line = Path(entry.location.file), entry.location.line
    alters_optimizer = any(edit.target is EditTarget.OPTIMIZER for step in plan.steps for edit in step.edits)
    insert = insert_apply_after_optimizer if alters_optimizer else insert_apply_before_optimizer
    try:
        return {path: insert(read(path), line, entry.expression, plan.remedies)}
    except TrialError:
        return {}


def main(jobs: Path) -> None:
    torch.set_num_threads(1)
    results: list[Any] = []
    for job in json.loads(jobs.read_text()):
        script = Path(job["folder"]) / "train.py"
        context = patch_context_of(script, job["candidates"])
        result: dict[str, Any] = {"control": losses_of(script, {}), "context": to_plain(context)}
        for plan in context.plans:
            try:
                result[" + ".join(plan.remedies)] = patch_result(script, context, plan, Path(f"{job['folder']}-patched"))
            except Exception:
                result[" + ".join(plan.remedies)] = {"failure": traceback.format_exc()}
                shutil.rmtree(f"{job['folder']}-patched", ignore_errors=True)
        results.append(result)
    jobs.with_suffix(".results").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
