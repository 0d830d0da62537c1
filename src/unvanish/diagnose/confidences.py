"""Every confidence that a rule gives its findings, in one table: the number, or the range that a measured value runs through, and
the reason for it.

All are conventions. `python -m benchmarks.diagnosis` prints, for each range of confidences, the share of findings that are right.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Confidence:
    """A confidence that no measured value changes, 0 to 1, and the reason for it."""

    value: float
    reason: str


@dataclass(frozen=True, slots=True)
class ConfidenceRange:
    """A confidence that grows with the measured value, and the reason for its ends.

    `least` holds at the threshold and `most` from the threshold's `sure` on, both 0 to 1 (see `Threshold.confidence`).
    """

    least: float
    most: float
    reason: str


# Of readings that grow past a threshold.
USUAL = ConfidenceRange(0.8, 0.97, "a consequence is measured that few other faults have")
MEASURED_FAULT = ConfidenceRange(0.85, 0.97, "the fault itself is measured; open is only whether it has a root of its own")
SHARED_SYMPTOM = ConfidenceRange(0.8, 0.95, "other faults give the same reading, so that even an extreme one leaves a doubt")
COUNTED = ConfidenceRange(0.9, 0.97, "comparisons are counted, not estimated; a broadcast that was meant looks the same")
READ_OFF_GRADIENTS = ConfidenceRange(
    0.95, 0.98, "what the gradients hold is read before every backward pass; accumulation over steps on purpose looks the same"
)
FROM_ONE_STATISTIC = ConfidenceRange(0.75, 0.9, "a statistic of the run stands for the cause, and its noise is not known")
BY_ELIMINATION = ConfidenceRange(0.7, 0.9, "noisy statistics of few batches, that count only where no other fault is found")
NO_HARM_SEEN = ConfidenceRange(0.7, 0.9, "the ratio is measured, but the loss falls all the same")

# Of what is either so or not.
EQUAL_ROWS = Confidence(0.98, "equal weights get equal gradients: no other explanation is left")
SOFTMAX_OF_ONE_VALUE = Confidence(0.98, "a softmax over one value is 1 by arithmetic")
NON_FINITE = Confidence(0.97, "the values are read; only their place in the network is inferred, from the sampled steps")
NO_GRADIENT_OR_OWNER = Confidence(0.95, "read off the record; freezing on purpose looks the same")
LOGARITHM_OF_NEGATIVE = Confidence(0.95, "the argument is read; only the operation before it is inferred from the graph")
EQUAL_TARGETS = Confidence(0.9, "all targets seen are equal; later ones may differ")
SOFTMAX_OVER_BATCH = Confidence(0.9, "the dimension is read off the graph; shares over the first dimension may be meant")
PREDICTED_SCALE = Confidence(0.9, "mean-field theory, within 0.1 decades of simulated plain networks; nothing was trained")
OVERSHOOTING = Confidence(0.85, "losses and update sizes agree, but a bad start or bad data can throw a loss as well")
EVEN_ATTENTION = Confidence(0.85, "an even look is measured; queries and keys of zero are its usual cause, and not the only one")
SATURATED_BY_OTHER_NETWORK = Confidence(0.8, "two readings of two networks; that one causes the other is inferred")
LOSS_IS_FLAT = Confidence(0.6, "the loss is flat beyond its noise, but too few steps look the same")

# Of a gradient that fades through time.
FORGETS_FOR_SURE = Confidence(0.95, "less than 1e-5 of the gradient is left at the first time step, and the loss does not fall")
FORGETS = Confidence(0.85, "the loss does not fall, or no gate could change what was traced")
GATES_MAY_OPEN = Confidence(0.6, "gates learn to keep what matters, and the loss has not shown yet that they do not")
