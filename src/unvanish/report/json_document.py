"""The JSON of a diagnosis and of a race, schema 1. Always valid JSON: what is not a number becomes null. It opens no file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from unvanish.record.examination import Examination
from unvanish.record.finding import Evidence, Finding
from unvanish.record.prediction import Prediction
from unvanish.record.run import Run
from unvanish.record.verdict import Verdict

SCHEMA = 1
DIGITS = 6


def diagnosis(run: Run, findings: Sequence[Finding], *, patch: str | None = None) -> dict[str, Any]:
    """The document: findings with the root first, and the race's verdicts where there was one.

    `patch` is the winner's difference as text, which only the caller knows.
    """
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "healthy": not any(finding.severity.loud for finding in findings),
        "steps": run.step_count,
        "overhead": rounded(run.overhead),
        "findings": [_finding(finding) for finding in findings],
    }
    if run.examination is not None:
        document |= _examination(run.examination)
    if run.race is not None:
        document["verdicts"] = [_verdict(verdict) for verdict in run.race.verdicts]
        document["winner"] = list(run.race.winner) if run.race.winner is not None else None
        document["patch"] = patch
    return document


def dumps(document: Any) -> str:
    """The document as text, two spaces deep, the same for the same document; it ends without a line break."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def rounded(value: float | None) -> float | None:
    """The value with six significant digits; None for NaN, infinities and None."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def _examination(seen: Examination) -> dict[str, Any]:
    """The exact look: totals and shares in decades, what theory said, the recurrences, the Jacobians."""
    flow, told = seen.flow, seen.prediction
    return {
        "flow": {
            "source": flow.source,
            "target": flow.target,
            "total": rounded(flow.total),
            "loss": rounded(flow.log10_source_rms),
            "kinds": {name: rounded(decades) for name, decades in flow.shares("kind").items()},
            "blocks": {name: rounded(decades) for name, decades in flow.shares("block").items()},
        },
        "prediction": _prediction(told) if told is not None else None,
        "recurrences": [
            {
                "name": time.name,
                "steps": time.steps,
                "decades_per_step": rounded(time.decades_per_step),
                "horizon": rounded(time.horizon),
            }
            for time in flow.times
        ],
        "jacobians": [
            {
                "layer": spectrum.layer,
                "log10_largest": rounded(spectrum.log10_largest),
                "log10_smallest": rounded(spectrum.log10_smallest),
                "mean_log10": rounded(spectrum.mean_log10),
                "exact": spectrum.exact,
            }
            for spectrum in seen.spectra
        ],
    }


def _prediction(told: Prediction) -> dict[str, Any]:
    return {
        "decades": rounded(told.decades),
        "scatter": rounded(told.scatter),
        "phase": told.phase or None,
        "trainable_depth": rounded(told.trainable_depth),
        "weight_scale": rounded(told.sw),
        "critical_weight_scale": rounded(told.critical_sw),
        "reason": told.reason or None,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "confidence": rounded(finding.confidence),
        "summary": finding.summary,
        "sites": list(finding.sites),
        "cause": {"code": finding.cause.code, "share": rounded(finding.cause.share)} if finding.cause is not None else None,
        "evidence": [_evidence(evidence) for evidence in finding.evidence],
        "symptoms": list(finding.symptoms),
        "remedies": list(finding.remedies),
        "began": finding.began,
        "trend": finding.trend.value,
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    site = {"site": evidence.site} if evidence.site is not None else {}
    return {
        "quantity": evidence.quantity,
        "value": rounded(evidence.value),
        "unit": evidence.unit,
        "threshold": rounded(evidence.threshold),
        "source": evidence.source,
        **site,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    effect = verdict.effects[0] if verdict.effects else None
    return {
        "remedies": list(verdict.remedies),
        "outcome": verdict.outcome.value,
        "metric": effect.metric if effect else None,
        "control": rounded(effect.control) if effect else None,
        "treated": rounded(effect.treated) if effect else None,
        "effect": rounded(effect.effect) if effect else None,
        "interval": [rounded(bound) for bound in effect.interval] if effect else None,
        "seeds": verdict.seeds,
        "steps": verdict.steps,
        "cost": {
            "step_time": rounded(verdict.cost.step_time),
            "parameters": rounded(verdict.cost.parameters),
            "flops": rounded(verdict.cost.flops),
            "memory": rounded(verdict.cost.memory),
        },
    }
