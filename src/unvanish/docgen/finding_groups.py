"""Lists the codes of findings by group, in the order of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gradient": (
            "vanishing-gradient",
            "exploding-gradient",
            "vanishing-through-time",
            "exploding-through-time",
            "shattered-gradient",
            "gradient-underflow",
            "gradient-noise",
            "disconnected-parameter",
            "non-finite",
            "stale-gradient",
        ),
        "activation": ("saturated-activation", "dead-units", "representation-collapse", "output-mismatch"),
        "initialisation": ("symmetric-init", "off-critical-init"),
        "optimisation": (
            "learning-rate-too-high",
            "learning-rate-too-low",
            "optimizer-epsilon",
            "clipping-dominates",
            "weight-decay-dominates",
            "loss-not-decreasing",
        ),
        "data": ("unscaled-input", "degenerate-labels"),
        "normalisation": ("batch-too-small", "running-stats-drift"),
        "generalisation": ("underfitting", "overfitting"),
        "attention": ("attention-collapse",),
    }
)


def find_group(code: str) -> str:
    """The group of a finding by its code; "" where no group lists it, as for those of plugins."""
    return next((group for group, codes in GROUPS.items() if code in codes), "")
