"""An exact look with every kind of value that one can hold: numbers, NaN, both infinities, None."""

from __future__ import annotations

import math

from unvanish.record.examination import Examination
from unvanish.record.gradient_flow import FlowOp, FlowParameter, GradientFlow, Junction, TimeProfile
from unvanish.record.jacobian_spectrum import JacobianSpectrum
from unvanish.record.structure import Location
from unvanish.record.theory_prediction import PredictedLayer, Prediction

HERE = Location("/home/person/net.py", 7, "nn.Linear(2, 2)")


def look() -> Examination:
    """The look."""
    first = FlowOp("0", "0", "linear", "weight", "0", 0, HERE, 0.1, 1.0, -1.0, -math.inf, 1.0, -math.inf, -0.0, ("0.weight",))
    second = FlowOp("1", "1", "elu", "activation", "0", 1, None, 0.0, 1.0, math.nan, 1e-300, 0.0, 0.5, 0.0, (), (("alpha", 0.5),))
    flow = GradientFlow(
        "Net",
        "output",
        "input",
        "float32",
        -1.0,
        -math.inf,
        (first, second),
        (Junction("0", "0", "0", 2, 1.0, 0.3, -math.inf),),
        math.nan,
        (second,),
        parameters=(FlowParameter("0.weight", (2, 2), -0.3, math.nan), FlowParameter("0.bias", (2,), -math.inf, 0.0)),
        times=(TimeProfile("w", "", None, (math.nan, -1.0, 0.0), (-1.0, -math.inf), math.nan, None, True),),
        notes=("Dropout was on.",),
    )
    prediction = Prediction(None, (PredictedLayer("0", "linear", 0.3, math.inf, 0.5, -math.inf, -math.inf),), reason="no theory")
    spectrum = JacobianSpectrum(
        "", 2, 3, False, "float64", 0.5, -math.inf, -math.inf, -15.0, ((-math.inf, 0.5), (0.5, 0.5)), smallest_converged=False
    )
    return Examination(flow, prediction, (spectrum,))
