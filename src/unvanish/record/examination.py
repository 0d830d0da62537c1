"""One exact look at a network: the flow of its gradient, what theory said of it, how its Jacobian stretches. Plain data."""

from __future__ import annotations

from dataclasses import dataclass

from unvanish.record.change import Prescription
from unvanish.record.flow import GradientFlow
from unvanish.record.prediction import Prediction
from unvanish.record.spectrum import JacobianSpectrum


@dataclass(frozen=True, slots=True)
class Examination:
    """A network looked at before its first update. `spectra` has one entry for each layer whose Jacobian was measured.

    `prescription` is there where the network itself was at hand and something was found. `flops` are the floating point operations
    of one forward and backward pass of the network on one batch; None where they were not counted.
    """

    flow: GradientFlow
    prediction: Prediction | None = None
    spectra: tuple[JacobianSpectrum, ...] = ()
    prescription: Prescription | None = None
    flops: int | None = None
