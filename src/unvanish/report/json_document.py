"""Builds the JSON documents of a diagnosis and of a race plan, schema 1; NaN and infinities become null."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from unvanish.record.examination import Examination
from unvanish.record.finding import Evidence, Finding
from unvanish.record.races.race_plan import PlannedCandidate, RacePlan
from unvanish.record.races.verdict import Verdict
from unvanish.record.ranks.process import RankSummary
from unvanish.record.run import Run
from unvanish.record.theory_prediction import Prediction
from unvanish.report.wording import rank_notes

SCHEMA_VERSION = 1
SIGNIFICANT_DIGITS = 6


def build_diagnosis(run: Run, findings: Sequence[Finding], *, patch: str | None = None) -> dict[str, Any]:
    """The document of a diagnosis, schema 1.

    Keys: `schema`, `healthy`, `steps`, `overhead`, `findings` (the root cause first); `ranks` and `rank_differences` where several
    processes trained; after a look at the network `flow`,
    `prediction`, `recurrences` and `jacobians`; after a race `verdicts`, `winner` and `patch`. Numbers have six significant digits.

    Arguments:
        findings: the root cause first; may be empty.
        patch: the winner's unified diff, which the record of the run does not hold.

    Example:
        >>> import numpy as np
        >>> from unvanish.record.run import Facts, Run
        >>> from unvanish.record.structure import ModelStructure
        >>> none = np.zeros(0, np.int64)
        >>> build_diagnosis(Run(Facts(), ModelStructure(), none, {}, none, np.zeros(0), np.zeros((0, 0))), [])["healthy"]
        True
    """
    document: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "healthy": not any(finding.severity.loud for finding in findings),
        "steps": run.step_count,
        "overhead": round_or_none(run.overhead),
        "findings": [_finding(finding) for finding in findings],
    }
    if run.facts.ranks:
        document["ranks"] = [_rank(rank) for rank in run.facts.ranks]
        document["rank_differences"] = list(rank_notes.list_differences(run))
    if run.examination is not None:
        document |= _examination(run.examination)
    if run.race is not None:
        document["verdicts"] = [_verdict(verdict) for verdict in run.race.verdicts]
        document["winner"] = list(run.race.winner.remedies) if run.race.winner is not None else None
        document["patch"] = patch
    return document


def build_not_watched(reason: str) -> dict[str, Any]:
    """The document of a script that ran and of which nothing could be watched, schema 1: a diagnosis of no steps, with the reason.

    Example:
        >>> build_not_watched("nothing of train.py could be watched: it did not import torch")["state"]
        'too-little-seen'
    """
    return {
        "schema": SCHEMA_VERSION,
        "healthy": False,
        "state": "too-little-seen",
        "steps": 0,
        "overhead": None,
        "findings": [],
        "reason": reason,
    }


def build_race_plan(plan: RacePlan) -> dict[str, Any]:
    """The document of a race that could be run, schema 1: its candidates, its parts, what was refused and why."""
    return {
        "schema": SCHEMA_VERSION,
        "plan": {
            "script": plan.script,
            "steps": plan.steps,
            "seconds": plan.seconds if math.isfinite(plan.seconds) else None,
            "seeds": plan.seeds,
            "candidates": [_planned_candidate(planned) for planned in plan.candidates],
            "parts": [
                {name: getattr(part, name) for name in ("text", "trials", "begins", "ends", "if_needed")} for part in plan.parts
            ],
            "refused": [list(refusal) for refusal in plan.refused],
        },
    }


def _planned_candidate(planned: PlannedCandidate) -> dict[str, Any]:
    return {
        "remedies": list(planned.candidate.remedies),
        "finding": planned.finding,
        "edit": planned.edit,
        "lines": planned.lines,
        "variant": planned.candidate.rate_text,
    }


def dumps(document: Any) -> str:
    """The document as JSON text, indented by two spaces and without a line break at the end."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def round_or_none(value: float | None) -> float | None:
    """The value with six significant digits; None for NaN, infinities and None.

    Example:
        >>> round_or_none(0.123456789), round_or_none(float("nan"))
        (0.123457, None)
    """
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def _examination(examination: Examination) -> dict[str, Any]:
    """The traced flow: totals and shares in decades, the prediction, the recurrences, the Jacobians."""
    flow, prediction = examination.flow, examination.prediction
    return {
        "flow": {
            "source": flow.source,
            "target": flow.target,
            "total": round_or_none(flow.total),
            "loss": round_or_none(flow.log10_source_rms),
            "kinds": {name: round_or_none(decades) for name, decades in flow.shares("kind").items()},
            "blocks": {name: round_or_none(decades) for name, decades in flow.shares("block").items()},
        },
        "prediction": _prediction(prediction) if prediction is not None else None,
        "recurrences": [
            {
                "name": time.name,
                "steps": time.steps,
                "decades_per_step": round_or_none(time.decades_per_step),
                "horizon": round_or_none(time.horizon),
            }
            for time in flow.times
        ],
        "jacobians": [
            {
                "layer": spectrum.layer,
                "log10_largest": round_or_none(spectrum.log10_largest),
                "log10_smallest": round_or_none(spectrum.log10_smallest),
                "mean_log10": round_or_none(spectrum.mean_log10),
                "exact": spectrum.exact,
            }
            for spectrum in examination.spectra
        ],
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return {
        "decades": round_or_none(prediction.decades),
        "scatter": round_or_none(prediction.scatter),
        "phase": prediction.phase or None,
        "trainable_depth": round_or_none(prediction.trainable_depth),
        "weight_scale": round_or_none(prediction.sw),
        "critical_weight_scale": round_or_none(prediction.critical_sw),
        "reason": prediction.reason or None,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "confidence": round_or_none(finding.confidence),
        "summary": finding.summary,
        "sites": list(finding.sites),
        "cause": {"code": finding.cause.code, "share": round_or_none(finding.cause.share)} if finding.cause is not None else None,
        "evidence": [_evidence(evidence) for evidence in finding.evidence],
        "symptoms": list(finding.symptoms),
        "remedies": list(finding.remedies),
        "began": finding.began,
        "trend": finding.trend.value,
    }


def _rank(rank: RankSummary) -> dict[str, Any]:
    return {
        "rank": rank.process.rank,
        "process": rank.process.process_id,
        "host": rank.process.host,
        "steps": rank.steps,
        "ending": rank.ending,
        "examples": round_or_none(rank.examples),
        "first_nonfinite": rank.first_nonfinite,
        "differs_from": rank.differs_from,
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    site = {"site": evidence.site} if evidence.site is not None else {}
    return {
        "quantity": evidence.quantity,
        "value": round_or_none(evidence.value),
        "unit": evidence.unit,
        "threshold": round_or_none(evidence.threshold),
        "source": evidence.source,
        **site,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    effect = verdict.effects[0] if verdict.effects else None
    return {
        "remedies": list(verdict.candidate.remedies),
        "outcome": verdict.outcome.value,
        "metric": effect.metric if effect else None,
        "control": round_or_none(effect.control) if effect else None,
        "treated": round_or_none(effect.treated) if effect else None,
        "effect": round_or_none(effect.effect) if effect else None,
        "interval": [round_or_none(bound) for bound in effect.interval] if effect else None,
        "seeds": verdict.seeds,
        "steps": verdict.steps,
        "cost": {
            "step_time": round_or_none(verdict.cost.step_time),
            "parameters": round_or_none(verdict.cost.parameters),
            "flops": round_or_none(verdict.cost.flops),
            "memory": round_or_none(verdict.cost.memory),
        },
    }
