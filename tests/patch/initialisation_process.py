"""A process that initialises the networks of many programs, by the remedy itself and by its lines in the source.

`python initialisation_process.py JOBS`: JOBS is a file with a list of folders, each with a train.py. The results are written beside
it.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
from patch_process import losses_of, read
from torch import Tensor, nn

from unvanish.errors import TrialError
from unvanish.observe import Observer, Settings, collect_facts
from unvanish.observe.first_network_call import FirstCall
from unvanish.observe.settings import StopTraining
from unvanish.patch import edit_sources
from unvanish.plugins.remedies import catalogue
from unvanish.record.network_changes import PatchContext
from unvanish.record.storage.journal import Journal
from unvanish.remedies.apply import apply
from unvanish.remedies.plan import plan_remedies

REMEDIES = (
    "he-init",
    "glorot-init",
    "lecun-init",
    "orthogonal-init",
    "delta-orthogonal-init",
    "critical-init",
    "forget-bias",
    "zero-init-residual",
)


def summary(parameter: Tensor) -> list[float]:
    """The root mean square, mean, largest absolute value, share of zeros, and the range of the singular values of a parameter."""
    values = parameter.detach().double()
    matrix = values.flatten(1) if values.dim() > 1 else values[None]
    singular = torch.linalg.svdvals(matrix)
    numbers = (
        values.square().mean().sqrt(),
        values.mean(),
        values.abs().max(),
        (values == 0).double().mean(),
        singular[0],
        singular[-1],
    )
    return [float(number) for number in numbers]


def summaries(network: nn.Module) -> dict[str, list[float]]:
    """The summaries of a network's parameters by path."""
    return {name: summary(parameter) for name, parameter in network.named_parameters()}


def first_call(script: Path, edits: dict[Path, str], look: Any) -> Any:
    """What `look` says of the first call of the network of a script that runs with edits."""
    seen: list[Any] = []
    journal = Journal.create(script.parent / "run.sqlite")
    examine = lambda call: seen.append(look(call))  # noqa: E731
    observer = Observer(journal, collect_facts("train.py", ()), settings=Settings(max_steps=1), examine=examine)
    observer.attach()
    try:
        losses_of(script, edits, stop_exceptions=(StopTraining,))
    finally:
        observer.close("finished")
        journal.close()
        (script.parent / "run.sqlite").unlink()
    return seen[0]


def plan_and_apply(call: FirstCall) -> tuple[PatchContext, dict[str, dict[str, list[float]]], dict[str, list[float]]]:
    """The patch context with a plan for each remedy, and the summaries after each remedy and without any."""
    plans = [
        plan_remedies(call.model, [name], optimizers=call.optimizers, inputs=call.args, catalogue=catalogue()) for name in REMEDIES
    ]
    applied: dict[str, dict[str, list[float]]] = {}
    for plan in plans:
        if not plan.refusal:
            change = apply(call.model, *plan.remedies, inputs=call.args)
            applied[plan.remedies[0]] = summaries(call.model)
            change.undo()
    context = PatchContext(call.entry, call.origins, tuple(plans), call.outside_modules)
    return context, applied, summaries(call.model)


def results_of(script: Path) -> dict[str, Any]:
    context, applied, untreated = first_call(script, {}, plan_and_apply)
    results: dict[str, Any] = {"untreated": untreated}
    for plan in context.plans:
        name = plan.remedies[0]
        if plan.refusal:
            continue
        try:
            texts = edit_sources(plan, context, read)
            again = edit_sources(plan, context, lambda path, texts=texts: texts.get(path) or read(path))
            written = first_call(script, texts, lambda call: summaries(call.model))
            losses = losses_of(script, texts)
            text = texts[script]
            results[name] = {"text": text, "applied": applied[name], "written": written, "again": bool(again), "losses": losses}
        except TrialError as refusal:
            results[name] = {"refusal": str(refusal)}
        except Exception:
            results[name] = {"failure": traceback.format_exc()}
    return results


def main(jobs: Path) -> None:
    torch.set_num_threads(1)
    results = [results_of(Path(folder) / "train.py") for folder in json.loads(jobs.read_text())]
    jobs.with_suffix(".results").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
