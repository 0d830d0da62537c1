"""Checks a network before training: traces one step, applies theory and the rules, and ranks the remedies.

Nothing here imports torch before it is given a network.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unvanish.errors import UsageError
from unvanish.examination import examine, module_locator
from unvanish.plugins.rules import diagnose
from unvanish.project_files import find_project, running_project
from unvanish.record.storage.file_names import RUN_FILE
from unvanish.record.storage.journal import Journal
from unvanish.trials import ScriptExit
from unvanish.trials.script.network_factory import call_factory, load_factory, user_code
from unvanish.workflows.run_directory import Checkup, conclude, create_folder, remove_folder
from unvanish.workflows.trace import TracedFlow

if TYPE_CHECKING:
    from torch import nn

    from unvanish.record.examination import Examination
    from unvanish.record.finding import Finding
    from unvanish.record.network_changes import Prescription
    from unvanish.record.run import Run
    from unvanish.record.structure import Location
    from unvanish.record.theory_prediction import Prediction


class CheckedNetwork:
    """A network as it stands before training: what is wrong with it, the flow of its gradient, and what theory predicted."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, the root first; empty where nothing speaks against training."""
        return diagnose(self.run)

    @property
    def healthy(self) -> bool:
        """Whether no finding is a warning or worse."""
        return not any(finding.severity.loud for finding in self.findings)

    @property
    def examination(self) -> Examination:
        """The flow, the forecast and the Jacobian's spectrum as records."""
        assert self.run.examination is not None
        return self.run.examination

    @property
    def flow(self) -> TracedFlow:
        """The gradient's way from the output to the input, as `trace` gives it."""
        return TracedFlow.of(self.examination.flow)

    @property
    def prediction(self) -> Prediction | None:
        """What theory predicts of it."""
        return self.examination.prediction

    @property
    def prescription(self) -> Prescription | None:
        """What to take for the leading finding, best first, and what it would do to the gradient; None where nothing is wrong."""
        return self.examination.prescription

    def report(self, path: str | Path) -> Path:
        """Writes the page of the report to `path`, and returns the path."""
        from unvanish.report.page import run_page

        run_page.write_page(Path(path), self.run, self.findings)
        return Path(path)


def check(model: nn.Module, inputs: Any, loss: Any) -> CheckedNetwork:
    """The network before any training: traced, compared with theory, and examined by every rule that needs no training.

    Arguments:
        model: the network; it is left bit for bit as it was.
        inputs: one example batch: a tensor (batch, ...), a tuple of positional or a dict of keyword arguments.
        loss: takes the outputs and returns one number, or is a tensor of targets.

    Cost: a few training steps, and up to some seconds for the Jacobian. Raises UsageError for what cannot be used, TraceError where
    no finite gradient arrives.

    Example:
        >>> import torch, unvanish
        >>> _ = torch.manual_seed(0)
        >>> layers = [m for _ in range(20) for m in (torch.nn.Linear(16, 16), torch.nn.Sigmoid())]
        >>> checkup = unvanish.check(torch.nn.Sequential(*layers), torch.randn(32, 16), lambda y: y.square().mean())
        >>> checkup.healthy, checkup.findings[0].code
        (False, 'vanishing-gradient')
    """
    from unvanish.observe.single_step import watching_one_step

    journal = Journal.create(None)
    try:
        with watching_one_step(journal, script=Path(sys.argv[0]).name):
            _take_step(model, inputs, loss)
        return CheckedNetwork(_examine(journal, model, inputs, loss, lambda _: None))
    finally:
        journal.close()


def check_factory(address: str, *, folder: Path) -> Checkup:
    """The network that FILE.py:FACTORY builds, checked; its record and page are in `folder`, which is made.

    FACTORY() returns the network, its inputs, and a loss or targets. Raises UsageError where the folder cannot be written,
    ScriptError where the factory cannot be used, and what `trace` raises.
    """
    path, factory = load_factory(address)
    with running_project(find_project(path, None, Path.cwd())):
        return _check_built_network(path, factory, folder)


def _check_built_network(path: Path, factory: Callable[[], Any], folder: Path) -> Checkup:
    from unvanish.observe.single_step import watching_one_step

    created = create_folder(folder)
    journal = Journal.create(folder / RUN_FILE)
    try:
        with watching_one_step(journal, script=path.name):
            model, inputs, loss = call_factory(path, factory)
            with user_code(path, "one step of the network"):
                _take_step(model, inputs, loss)
        run = _examine(journal, model, inputs, loss, module_locator(journal.read(), model))
    except BaseException:
        journal.close()
        remove_folder(folder, created)
        raise
    journal.close()
    return conclude(ScriptExit(0, "finished"), run, folder)


def _take_step(model: Any, inputs: Any, loss: Any) -> None:
    """One observed step that leaves the network as it was."""
    from torch import nn

    from unvanish.observe.single_step import take_step
    from unvanish.tracing.inputs_and_loss import prepare_inputs, require_scalar, resolve_loss
    from unvanish.tracing.preserved_state import preserved_state

    if not isinstance(model, nn.Module):
        raise UsageError(f"check needs a torch.nn.Module, and was given {type(model).__name__}; pass the network itself")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(
            f"every parameter of {type(model).__name__} is frozen (requires_grad is off), so there is nothing to train"
        )
    prepared, loss_function = prepare_inputs(inputs), resolve_loss(loss)
    with preserved_state(model):
        take_step(model, lambda: require_scalar(loss_function(model(*prepared.args, **prepared.kwargs))))


def _examine(journal: Journal, model: nn.Module, inputs: Any, loss: Any, locate: Callable[[nn.Module], Location | None]) -> Run:
    """The journal's run with the examination of the network, which is written to the journal too."""
    from unvanish.workflows.rank_remedies import rank_remedies

    examination = examine(model, inputs, loss, build_location=locate)
    run = replace(journal.read(), examination=examination)
    prescription = rank_remedies(diagnose(run), model, inputs, loss, untreated=examination)
    examination = replace(examination, prescription=prescription)
    journal.write(examination=examination)
    return replace(run, examination=examination)
