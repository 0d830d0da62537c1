"""The exact examination of a network: the flow of its gradient, what theory predicts, the singular values of its Jacobian."""

from __future__ import annotations

from dataclasses import dataclass

from unvanish.record.gradient_flow import GradientFlow
from unvanish.record.jacobian_spectrum import JacobianSpectrum
from unvanish.record.network_changes import Prescription
from unvanish.record.theory_prediction import Prediction


@dataclass(frozen=True, slots=True)
class Examination:
    """A network examined before its first update.

    Arguments:
        flow: the traced gradient.
        prediction: what theory predicts of it; None where it was not asked.
        spectra: one entry for each layer whose Jacobian was measured.
        prescription: the remedies to take, where the network itself could be treated and something was found.
        flops: floating point operations of one forward and backward pass on one batch; None where they were not counted.
    """

    flow: GradientFlow
    prediction: Prediction | None = None
    spectra: tuple[JacobianSpectrum, ...] = ()
    prescription: Prescription | None = None
    flops: int | None = None
