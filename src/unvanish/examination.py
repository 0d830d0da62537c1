"""Examines a network once: its traced gradient flow, the prediction of mean-field theory for it, and the spectra of its Jacobians.

Imports torch and scipy inside its functions only: a stored run is reported without torch, and a trial does not wait for scipy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unvanish.errors import UnvanishError
from unvanish.record.examination import Examination

if TYPE_CHECKING:
    from torch import nn

    from unvanish.observe.first_network_call import FirstCall
    from unvanish.record.run import Run
    from unvanish.record.structure import Location


def examine(
    model: nn.Module, inputs: Any, loss: Any, *, build_location: Callable[[nn.Module], Location | None] = lambda _: None
) -> Examination:
    """The examination of a network as it stands: its gradient flow, the prediction for it, and the spectra of its Jacobians.

    Cost: some training steps, and about a second for the Jacobians. The network is left as it was.

    Arguments:
        model: the network.
        inputs: one batch, as `unvanish.tracing.trace` takes it.
        loss: a function of the outputs that returns one number, or a tensor of targets.
        build_location: gives the line that built a module, None where it is not known.

    Raises:
        UsageError: for arguments that cannot be used.
        TraceError: where no gradient arrives at the inputs, or one that is not finite.

    Example:
        >>> import torch
        >>> layers = [layer for _ in range(4) for layer in (torch.nn.Linear(8, 8), torch.nn.Sigmoid())]
        >>> examination = examine(torch.nn.Sequential(*layers), torch.randn(16, 8), torch.zeros(16, 8))
        >>> examination.flow.total < -2.0  # decades of gradient that four sigmoid layers lose
        True
        >>> [spectrum.layer for spectrum in examination.spectra]  # three hidden layers, and the output
        ['0', '2', '4', '']
    """
    from unvanish.diagnose.theory_prediction import predict
    from unvanish.tracing import spectra, trace, with_orthogonality

    flow = with_orthogonality(trace(model, inputs, loss, build_location=build_location), model)
    return Examination(flow, predict(flow), spectra(model, inputs, flow))


def examine_first_step(call: FirstCall) -> Examination | None:
    """The examination of the network in a training's first step, traced with the gradient that the step had.

    It has the flow and the number of floating point operations, no prediction (`with_prediction` adds it later, so that the
    training does not wait for it) and no spectra. The step is run again on a copy, whose output is not printed, so that a network
    that counts its calls is left as it was. None where the network cannot be copied or traced.

    Example:
        >>> import torch
        >>> from unvanish.observe.first_network_call import FirstCall
        >>> model, inputs = torch.nn.Linear(4, 2), torch.ones(3, 4)
        >>> examination = examine_first_step(FirstCall(model, (inputs,), {}, (), {0: torch.ones(3, 2)}))
        >>> examination.flow.target, examination.flops  # two products of (3, 4) with (4, 2)
        ('input', 96)
    """
    from unvanish.tracing import NotRetraceable, retrace_step

    try:
        retraced = retrace_step(call.model, call.args, call.kwargs, call.output_gradients, call.autocasts, call.build_locations.get)
    except (NotRetraceable, UnvanishError):
        return None
    return Examination(retraced.flow, flops=retraced.flops)


def with_prediction(run: Run) -> Run:
    """The run with the prediction of theory for its network, computed from the stored flow where it is missing."""
    examination = run.examination
    if examination is None or examination.prediction is not None:
        return run
    from unvanish.diagnose.theory_prediction import predict

    return replace(run, examination=replace(examination, prediction=predict(examination.flow)))


def module_locator(run: Run, model: nn.Module) -> Callable[[nn.Module], Location | None]:
    """A function that gives the line that built a module of the model, as the run recorded it; None where it is not known."""
    locations = {site.path: site.location for site in run.structure.sites if not site.functional}
    paths = {module: path for path, module in model.named_modules()}
    return lambda module: locations.get(paths.get(module, ""))
