"""Brings what an older version wrote into a run's file to the form that this version reads."""

from __future__ import annotations

import math
from typing import Any

from unvanish.record.quantities import Axis

# The quantities of format 2, which kept no names: the order in which a row packed them.
FORMAT_2_QUANTITIES: dict[str, tuple[str, ...]] = {
    Axis.SITE: (
        "activation_mean",
        "activation_std",
        "zero_fraction",
        "silent_fraction",
        "saturated_fraction",
        "log10_slope_rms",
        "nonfinite_count",
        "example_cosine",
        "example_spread",
        "attention_entropy",
        "values_per_statistic",
        "evaluation_gap",
        "log10_gradient_rms",
        "gradient_zero_fraction",
        "log10_smallest_gradient",
        "gradient_nonfinite",
    ),
    Axis.PARAMETER: (
        "log10_weight_rms",
        "log10_weight_gradient_rms",
        "log10_update_rms",
        "unit_spread",
        "gradient_agreement",
        "gradient_along_weight",
        "log10_stale_share",
    ),
    Axis.GROUP: ("learning_rate", "log10_gradient_kept"),
    Axis.NETWORK: ("batch_size", "log10_input_rms", "log10_largest_feature", "log10_median_feature", "input_offset"),
    Axis.HEAD: (
        "loss",
        "constant_loss",
        "least_loss",
        "score",
        "neighbour_correlation",
        "neighbour_count",
        "seen_before",
        "target_low",
        "target_high",
        "output_low",
        "output_high",
        "output_zero_fraction",
        "unreachable_fraction",
        "log10_probability_sum",
        "comparisons",
    ),
}
_FAILED = "A trial failed: "  # how the reason of a verdict began where a trial failed


def upgrade_race(document: dict[str, Any]) -> dict[str, Any]:
    """A race as format 3 stores it, from the JSON value of any format that is read; one of format 3 comes back as it is.

    Format 2 kept a candidate as the two fields `remedies` and `variant` ("x0.1"), and a failure in the reason alone.
    """
    if "winner_variant" not in document:
        return document
    fields = {name: value for name, value in document.items() if name != "winner_variant"}
    winner = document["winner"]
    return {
        **fields,
        "winner": None if winner is None else _candidate(winner, document["winner_variant"]),
        "trials": [_with_candidate(trial) for trial in document["trials"]],
        "verdicts": [_upgrade_verdict(verdict) for verdict in document["verdicts"]],
    }


def upgrade_examination(document: dict[str, Any]) -> dict[str, Any]:
    """An examination as format 3 stores it, from the JSON value of any format that is read.

    Format 2 called the decades that theory expects `foretold`.
    """
    prescription = document.get("prescription")
    if prescription is None or "foretold" not in prescription:
        return document
    candidates = [_with_predicted(candidate) for candidate in prescription["candidates"]]
    return {**document, "prescription": {**_with_predicted(prescription), "candidates": candidates}}


def _with_predicted(document: dict[str, Any]) -> dict[str, Any]:
    return {"predicted" if name == "foretold" else name: value for name, value in document.items()}


def _upgrade_verdict(document: dict[str, Any]) -> dict[str, Any]:
    cost, reason = document["cost"], document["reason"]
    return {
        **_with_candidate(document),
        "cost": {**cost, "flops": math.nan if cost.get("flops") is None else cost["flops"]},
        "failure": reason.removeprefix(_FAILED).removesuffix(".") if document["outcome"] == "failed" else "",
    }


def _with_candidate(document: dict[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in document.items() if name not in ("remedies", "variant")}
    return {**fields, "candidate": _candidate(document["remedies"], document.get("variant", ""))}


def _candidate(remedies: list[str], variant: str) -> dict[str, Any]:
    return {"remedies": remedies, "rate_factor": float(variant.removeprefix("x")) if variant else None}
