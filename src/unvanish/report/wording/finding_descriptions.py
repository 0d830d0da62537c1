"""Describes every finding and cause in words without technical terms, for the verdict card."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# The meaning of each finding in one sentence; technical terms that are left are in the glossary.
FINDING_DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "vanishing-gradient": "The signal that should correct the early layers fades on its way: they stay as they began.",
        "exploding-gradient": "The signal that corrects the layers swells on its way: every correction overshoots.",
        "vanishing-through-time": "The correcting signal fades along a sequence: what lies far back is never learned from.",
        "exploding-through-time": "The signal that corrects the network swells along a sequence: corrections overshoot.",
        "shattered-gradient": "The correcting signal is so jumbled by the depth that like examples contradict each other.",
        "gradient-underflow": "The correcting signal is smaller than the number format can hold, and is rounded to zero.",
        "gradient-noise": "The corrections differ so much from one batch of examples to the next that they nearly cancel.",
        "disconnected-parameter": "A part of the network has no influence on what is trained, so it can never learn.",
        "non-finite": "A calculation went out of bounds; nothing can be learned from what is no longer a number.",
        "stale-gradient": "Corrections of earlier steps are never cleared: each step repeats all those before it.",
        "saturated-activation": "Parts of the network are at their limits, where a small correction makes no difference.",
        "dead-units": "Many units of the network have switched off for good: they answer nothing to every example.",
        "representation-collapse": "Different examples look almost the same to the network, so it cannot tell them apart.",
        "output-mismatch": "The network's last step does not fit the way in which its answers are judged.",
        "symmetric-init": "Units of a layer started out identical and stay identical: many do the work of one.",
        "off-critical-init": "The network's starting values shrink or swell the signal at every layer.",
        "learning-rate-too-high": "Every correction goes too far, so the network leaps past what it looks for.",
        "learning-rate-too-low": "Every correction is so small that the network hardly changes.",
        "optimizer-epsilon": "A safety constant of the optimiser outweighs the corrections themselves.",
        "clipping-dominates": "A limit on the size of the corrections acts on nearly every one of them.",
        "weight-decay-dominates": "The pull of the weights towards zero is stronger than what is learned.",
        "loss-not-decreasing": "The error has not become smaller: the network has learned nothing from the examples so far.",
        "unscaled-input": "The numbers that go into the network are far larger or smaller than it is built for.",
        "degenerate-labels": "The answers that the network should learn hardly differ from each other.",
        "batch-too-small": "Too few examples are looked at together for their statistics to mean anything.",
        "running-stats-drift": "What the network remembers of its data's statistics does not fit the data that it sees.",
        "underfitting": "The network does not even manage the examples that it learns from.",
        "overfitting": "The network learns its examples by heart and fails on new ones.",
        "attention-collapse": "The network looks at one and the same place whatever it is shown.",
    }
)

# Completes "The cause is …".
CAUSE_DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "saturating-activation": "the activation function, which levels off, and not the data",
        "depth-without-path": "the depth: no direct path leads around the layers",
        "missing-normalisation": "that nothing keeps the signal at an even size from layer to layer",
        "recurrence-without-gate": "that the same step is repeated over and over, with no gate to carry information across",
        "half-precision": "the short number format",
        "detached-graph": "that the calculation is cut somewhere between this part and the loss",
        "numerical-domain": "an operation that was given a number for which it has no answer",
        "off-critical-init": "the values with which the weights start",
        "learning-rate-too-high": "a learning rate that is too high",
        "learning-rate-too-low": "a learning rate that is too low",
        "exploding-gradient": "a gradient that has grown too large",
        "vanishing-gradient": "a gradient that has faded away",
        "dead-units": "units that have switched off",
        "symmetric-init": "that all units of a layer started out the same",
        "unscaled-input": "the size of the numbers that go into the network",
    }
)


def describe_finding(code: str) -> str:
    """The finding in one sentence without technical terms; "" for the code of a plugin, whose own summary is shown."""
    return FINDING_DESCRIPTIONS.get(code, "")


def describe_cause(code: str) -> str:
    """The cause as the end of a sentence that begins "The cause is"; an unknown code with spaces for hyphens."""
    return CAUSE_DESCRIPTIONS.get(code, code.replace("-", " "))
