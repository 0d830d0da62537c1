"""Examples of flows, a prediction, time profiles and spectra with known numbers."""

from __future__ import annotations

import math
from dataclasses import replace

from unvanish.record.gradient_flow import FlowOp, FlowParameter, GradientFlow, Junction, TimeProfile
from unvanish.record.jacobian_spectrum import JacobianSpectrum
from unvanish.record.structure import Location
from unvanish.record.theory_prediction import PredictedLayer, Prediction

SCRIPT = "/srv/project/examples/net.py"
SIGMOID, LINEAR = -0.6, -0.2
HEAD = -1.5


def make_op(
    label: str, kind: str, decades: float, *, order: int, out: float, block: str = "", name: str = "", size: float = 0.0
) -> FlowOp:
    """One operation of a chain, with the gradient `out` at its output."""
    return FlowOp(
        label=label,
        path=label.split(":")[0],
        op=name or kind,
        kind=kind,
        block=block or label,
        order=order,
        location=Location(SCRIPT, 20 + order % 7, "h = step(h)"),
        output_mean=0.0,
        output_std=1.0,
        log10_gradient_out=out,
        log10_gradient_in=out + decades + size,
        visits=1.0,
        decades=decades,
        size=size,
    )


def make_chain(layers: int, *, sigmoid: float = SIGMOID, linear: float = LINEAR) -> GradientFlow:
    """A chain of `layers` blocks, each a linear and (but the last) a sigmoid after it: net.0, net.1, ..."""
    ops: list[FlowOp] = []
    at = HEAD
    for index in range(2 * layers - 2, -1, -1):
        weight = index % 2 == 0
        decades = linear if weight else sigmoid
        kind, name = ("weight", "linear") if weight else ("activation", "sigmoid")
        block = f"net.{index - index % 2} … net.{index - index % 2 + 1}" if index < 2 * layers - 2 else f"net.{index}"
        ops.append(make_op(f"net.{index}", kind, decades, order=index, out=at, block=block, name=name))
        at += decades
    return GradientFlow(
        network="net",
        source="output",
        target="input",
        dtype="float32",
        log10_source_rms=HEAD,
        log10_target_rms=at,
        ops=tuple(reversed(ops)),
        loss_ops=(
            make_op("log_softmax", "loss", -0.02, order=100, out=-1.48, name="log_softmax"),
            make_op("nll_loss", "loss", -1.48, order=101, out=0.0, name="nll_loss"),
        ),
        parameters=(FlowParameter("net.0.weight", (64, 64), -1.0, at + 0.1),),
    )


def make_residual(layers: int) -> GradientFlow:
    """A chain of residual blocks: every branch loses a tenth of a decade, the split gives 0.3 and interference takes 0.05."""
    flow = make_chain(layers, sigmoid=-0.05, linear=-0.05)
    junctions = tuple(Junction(o.label, o.path, o.block, 2, 1.0, 0.3, -0.05) for o in flow.ops[1:-1:2])
    return replace(flow, junctions=junctions, log10_target_rms=flow.log10_target_rms + 0.25 * len(junctions))


def make_blocked_chain(layers: int = 5) -> GradientFlow:
    """A chain in which the second sigmoid from the loss sends nothing on, as the tracer tells it."""
    flow = make_chain(layers)
    end = f"net.{2 * layers - 5}"
    ops = tuple(
        replace(o, decades=-math.inf if o.label == end else 0.0, visits=float(o.label == end), log10_gradient_in=-math.inf)
        if o.order <= 2 * layers - 5
        else replace(o, visits=0.0, decades=0.0)
        for o in flow.ops
    )
    ops = tuple(replace(o, log10_gradient_out=-math.inf) if o.order < 2 * layers - 5 else o for o in ops)
    return replace(flow, ops=ops, log10_target_rms=-math.inf)


def make_prediction(layers: int, *, off: float = 0.1) -> Prediction:
    """A prediction for `make_chain(layers)` that is `off` decades above the measured total, spread evenly."""
    total = (layers - 1) * (SIGMOID + LINEAR) + LINEAR + off
    per_layer = total / layers
    rows = tuple(
        PredictedLayer(
            f"net.{2 * i}", "sigmoid" if i else "linear", 0.3, 10 ** (2 * per_layer), 0.58, per_layer, per_layer * (layers - i)
        )
        for i in range(layers)
    )
    return Prediction(total, rows, phase="ordered", sw=0.58, critical_sw=1.31, trainable_depth=9.0)


def make_time_profile(steps: int, *, slope: float = -0.21, name: str = "rnn.weight_hh_l0") -> TimeProfile:
    """A recurrence that carries `slope` decades a step."""
    gradient = tuple(-2.0 + slope * (steps - 1 - i) for i in range(steps))
    carried = gradient[:-1]
    return TimeProfile(name, name.split(".")[0], None, gradient, carried, slope, 3.0 / -slope if slope < 0 else None)


def make_spectrum(layer: str = "", *, values: tuple[float, ...] = (-3.0, -2.0, -1.0, 0.5), zeros: int = 0) -> JacobianSpectrum:
    """An exact spectrum with these log10 singular values, and as many zeros as wanted."""
    every = (-math.inf,) * zeros + tuple(sorted(values))
    return JacobianSpectrum(
        layer=layer,
        rows=len(every),
        columns=2 * len(every),
        exact=True,
        dtype="float64",
        log10_largest=every[-1],
        log10_smallest=every[0],
        mean_log10=sum(every) / len(every),
        log10_floor=-15.0,
        density=tuple((value, 1 / len(every)) for value in every),
    )
