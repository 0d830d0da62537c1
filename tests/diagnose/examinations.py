"""Exact looks made by hand: a chain or a recurrence with the decades that are wanted, and runs that hold them."""

from __future__ import annotations

from dataclasses import replace

from handmade_runs import healthy

from unvanish.record.examination import Examination
from unvanish.record.flow import FlowOp, GradientFlow, TimeProfile
from unvanish.record.prediction import PredictedLayer, Prediction
from unvanish.record.run import CHECKED, Run
from unvanish.record.structure import Location

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


def told(
    decades: float | None, *, scale: float = 0.58, critical: float | None = CRITICAL_SCALE, depth: float | None = 2.0
) -> Prediction:
    """What theory says of that chain. None stands for what it has no number for."""
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


def checked(seen: Examination) -> Run:
    """A network that was looked at before any training."""
    run = healthy(losses=[2.3], sampled=(1,))
    return replace(run, facts=replace(run.facts, ending=CHECKED), examination=seen)


def through_time(time: TimeProfile, run: Run | None = None) -> Run:
    """A checked network, or a training, with that recurrence."""
    seen = Examination(flow(times=(time,)))
    return checked(seen) if run is None else replace(run, examination=seen)


def scaled(prediction: Prediction, run: Run | None = None, *, taken: GradientFlow | None = None) -> Run:
    """A checked network, or a training, of which theory says that."""
    decades = prediction.decades or 0.0
    seen = Examination(flow(decades / 4, 3 * decades / 4) if taken is None else taken, prediction)
    return checked(seen) if run is None else replace(run, examination=seen)
