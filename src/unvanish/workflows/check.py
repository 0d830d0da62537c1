"""A network as it stands before training: one exact step, what theory says, what is wrong, and what each remedy would do.

Nothing here trains, and nothing imports torch before it is given a network.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unvanish.errors import UsageError
from unvanish.examination import births, examine
from unvanish.trials import Ending
from unvanish.workflows.run_directory import RUN_FILE, Checkup, conclude, make, unmake

if TYPE_CHECKING:
    from torch import nn

    from unvanish.record.change import Prescription
    from unvanish.record.examination import Examination
    from unvanish.record.finding import Finding
    from unvanish.record.flow import GradientFlow
    from unvanish.record.journal import Journal
    from unvanish.record.prediction import Prediction
    from unvanish.record.run import Run
    from unvanish.record.structure import Location


class CheckedNetwork:
    """A network as it stands before training: what is wrong with it, the flow of its gradient, and what theory had said."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, the root first; empty where nothing speaks against training."""
        from unvanish.plugins.rules import diagnose

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
    def flow(self) -> GradientFlow:
        """The gradient's way from the output to the input, as `trace` gives it."""
        return self.examination.flow

    @property
    def prediction(self) -> Prediction | None:
        """What theory said of it."""
        return self.examination.prediction

    @property
    def prescription(self) -> Prescription | None:
        """What to take for the leading finding, best first, and what it would do to the gradient; None where nothing is wrong."""
        return self.examination.prescription

    def report(self, path: str | Path) -> Path:
        """Writes the page that tells it all to `path`, and says where it is."""
        from unvanish.report.page import run_page

        run_page.write(Path(path), self.run, self.findings)
        return Path(path)


def check(model: nn.Module, inputs: Any, loss: Any) -> CheckedNetwork:
    """The network before any training: traced, compared with theory, and looked over by every rule that needs no training.

    Arguments as for `trace`. Cost: a few training steps, and up to some seconds for the Jacobian. Raises what `trace` raises.
    """
    from unvanish.observe.single_step import watching_one_step
    from unvanish.record.journal import Journal

    journal = Journal.create(None)
    try:
        with watching_one_step(journal, script=Path(sys.argv[0]).name):
            _step(model, inputs, loss)
        return CheckedNetwork(_examined(journal, model, inputs, loss, lambda _: None))
    finally:
        journal.close()


def check_factory(address: str, *, folder: Path) -> Checkup:
    """The network that FILE.py:FACTORY builds, checked; its record and page are in `folder`, which is made.

    FACTORY() returns the network, its inputs, and a loss or targets. Raises UsageError where the folder cannot be written,
    ScriptError where the factory cannot be used, and what `trace` raises.
    """
    from unvanish.observe.single_step import watching_one_step
    from unvanish.record.journal import Journal
    from unvanish.trials.script.factory import built, load_factory, user_code

    path, factory = load_factory(address)
    made = make(folder)
    journal = Journal.create(folder / RUN_FILE)
    try:
        with watching_one_step(journal, script=path.name):
            model, inputs, loss = built(path, factory)
            with user_code(path, "one step of the network"):
                _step(model, inputs, loss)
        run = _examined(journal, model, inputs, loss, births(journal.read(), model))
    except BaseException:
        journal.close()
        unmake(folder, made)
        raise
    journal.close()
    return conclude(Ending(0, "finished"), run, folder)


def _step(model: Any, inputs: Any, loss: Any) -> None:
    """One step, observed, that leaves the network as it was."""
    from torch import nn

    from unvanish.observe.single_step import take_step
    from unvanish.tracing.inputs_and_loss import loss_of, one_number, prepare_inputs
    from unvanish.tracing.preserved_state import preserved_state

    if not isinstance(model, nn.Module):
        raise UsageError(f"check needs a torch.nn.Module, and was given {type(model).__name__}; pass the network itself")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(
            f"every parameter of {type(model).__name__} is frozen (requires_grad is off), so there is nothing to train"
        )
    given, judge = prepare_inputs(inputs), loss_of(loss)
    with preserved_state(model):
        take_step(model, lambda: one_number(judge(model(*given.args, **given.kwargs))))


def _examined(journal: Journal, model: nn.Module, inputs: Any, loss: Any, lines: Callable[[nn.Module], Location | None]) -> Run:
    """The journal's run with the exact look, which the journal gets too."""
    from unvanish.plugins.rules import diagnose
    from unvanish.workflows.rank_remedies import prescribe

    seen = examine(model, inputs, loss, births=lines)
    run = replace(journal.read(), examination=seen)
    seen = replace(seen, prescription=prescribe(diagnose(run), model, inputs, loss))
    journal.write(examination=seen)
    return replace(run, examination=seen)
