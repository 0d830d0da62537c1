"""Builds traced gradients, recurrences and predictions with chosen decades, and runs that contain them."""

from __future__ import annotations

from dataclasses import replace

from unvanish.record.examination import Examination
from unvanish.record.gradient_flow import FlowOp, GradientFlow, TimeProfile
from unvanish.record.run import CHECKED, Run
from unvanish.record.structure import Location
from unvanish.record.theory_prediction import PredictedLayer, Prediction
from unvanish.testing.records import healthy

LINE = Location("/srv/net.py", 7, "self.body = nn.RNN(2, 64)")
LAYERS = ("0", "2", "4")
CRITICAL_SCALE = 1.41


def op(label: str, kind: str, name: str, decades: float) -> FlowOp:
    """One operation through which all of the gradient comes."""
    return FlowOp(label, label, name, kind, label, int(label), LINE, 0.0, 1.0, 0.0, decades, 1.0, decades, 0.0)


def flow(
    activations: float = 0.0, weights: float = 0.0, *, activation: str = "relu", times: tuple[TimeProfile, ...] = ()
) -> GradientFlow:
    """A chain of three layers that takes so many decades in its activations and in its weights, two and three of them."""
    ops = tuple(
        op(str(i), "activation", activation, activations / 2) if i % 2 else op(str(i), "weight", "linear", weights / 3)
        for i in range(5)
    )
    return GradientFlow("Net", "output", "input", "float32", -1.0, -1.0 + activations + weights, ops, times=times)


def predicted(
    decades: float | None, *, scale: float = 0.58, critical: float | None = CRITICAL_SCALE, depth: float | None = 2.0
) -> Prediction:
    """The prediction for that chain; `decades` None where theory has no number."""
    layers = tuple(
        PredictedLayer(label, "relu", 0.3, 0.2, scale, (decades or 0.0) / 3, (decades or 0.0) * (3 - i) / 3)
        for i, label in enumerate(LAYERS)
    )
    return Prediction(decades, layers, "ordered", scale, critical, depth, 0.1)


def recurrence(
    across: float, *, own: float | None = None, gated: bool = False, steps: int = 101, path: str = "body"
) -> TimeProfile:
    """A recurrence that carries `across` decades in all; `own`, else as many, lie between its largest gradient and its first."""
    slope = across / (steps - 1)
    carried = tuple(slope * (steps - 2 - i) for i in range(steps - 1))
    first = across if own is None else own
    gradient = (first, *(0.0 for _ in range(steps - 1)))
    horizon = 3.0 / -slope if slope < 0 else None
    return TimeProfile("body.weight_hh_l0", path, LINE, gradient, carried, slope, horizon, gated)


def checked_run(examination: Examination) -> Run:
    """The run of a network that was checked without training."""
    run = healthy(losses=[2.3], sampled=(1,))
    return replace(run, facts=replace(run.facts, ending=CHECKED), examination=examination)


def with_recurrence(profile: TimeProfile, run: Run | None = None) -> Run:
    """A checked network, or a training, with that recurrence."""
    examination = Examination(flow(times=(profile,)))
    return checked_run(examination) if run is None else replace(run, examination=examination)


def with_prediction(prediction: Prediction, run: Run | None = None, *, traced: GradientFlow | None = None) -> Run:
    """A checked network, or a training, with that prediction."""
    decades = prediction.decades or 0.0
    examination = Examination(flow(decades / 4, 3 * decades / 4) if traced is None else traced, prediction)
    return checked_run(examination) if run is None else replace(run, examination=examination)
