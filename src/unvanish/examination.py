"""The exact look, put together: the trace, what theory says of it, the Jacobian. It weighs nothing, and trains nothing.

Nothing here imports torch before the user's script has done so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unvanish.errors import UnvanishError
from unvanish.record.examination import Examination

if TYPE_CHECKING:
    from torch import nn

    from unvanish.observe.first_call import FirstCall
    from unvanish.record.flow import GradientFlow
    from unvanish.record.run import Run
    from unvanish.record.structure import Location


def examine(
    model: nn.Module, inputs: Any, loss: Any, *, births: Callable[[nn.Module], Location | None] = lambda _: None
) -> Examination:
    """The flow of a network as it stands, the forecast for it, and its Jacobians. `births` gives the line that built a module.

    Raises what `trace` raises. Cost: some training steps, and about a second for the Jacobians.
    """
    from unvanish.diagnose.prediction import predict
    from unvanish.tracing import spectra, trace, with_orthogonality

    flow = with_plotting(with_orthogonality(trace(model, inputs, loss, births=births), model))
    return Examination(flow, predict(flow), spectra(model, inputs, flow))


def first_look(seen: FirstCall) -> Examination | None:
    """The network of a training's first step, traced with the gradient that really came; None where that cannot be had.

    It works on a copy, so that a network that keeps things from call to call finds them as they were, and what the copy prints
    is not printed twice. Theory is asked later, by `with_prediction`.
    """
    from unvanish.tracing import NotRetraceable, retrace_step

    try:
        again = retrace_step(seen.model, seen.args, seen.kwargs, seen.seeds, seen.casts, seen.births.get)
    except (NotRetraceable, UnvanishError):
        return None
    return Examination(again.flow, flops=again.flops)


def with_prediction(run: Run) -> Run:
    """The run with what theory says of its network, which a training in progress does not wait for."""
    seen = run.examination
    if seen is None or seen.prediction is not None:
        return run
    from unvanish.diagnose.prediction import predict

    return replace(run, examination=replace(seen, prediction=predict(seen.flow)))


def births(run: Run, model: nn.Module) -> Callable[[nn.Module], Location | None]:
    """The lines that built the modules, as the observer saw them."""
    lines = {site.path: site.location for site in run.anatomy.sites if not site.functional}
    paths = {module: path for path, module in model.named_modules()}
    return lambda module: lines.get(paths.get(module, ""))


def with_plotting(flow: GradientFlow) -> GradientFlow:
    """The flow, able to draw itself."""
    from unvanish.report.figures.flow.flow_gallery import flow_figure

    return replace(flow, draw=flow_figure)
