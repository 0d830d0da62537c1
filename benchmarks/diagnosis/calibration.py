"""Cross-validates the calibrated thresholds: each is set on all families of cases but one, and scored on that one.

Every threshold whose origin is "calibrated" is varied alone over a few values around the one in the table.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from benchmarks.diagnosis.corpus import Case
from benchmarks.diagnosis.scoring import count_scores, score_case
from unvanish.diagnose.thresholds import Threshold, all_thresholds
from unvanish.record.run import Run

STEPS = (-0.5, -0.25, 0.0, 0.25, 0.5)  # relative to the value; for a log10, in decades


def candidate_values(threshold: Threshold) -> list[float]:
    """The values that are tried for a threshold."""
    if threshold.unit == "log10":
        return [threshold.value + step for step in STEPS]
    return [threshold.value * (1 + step) for step in STEPS]


@contextmanager
def threshold_at(threshold: Threshold, value: float) -> Generator[None]:
    """Gives a threshold, which is frozen elsewhere, another value in the block."""
    before = threshold.value
    object.__setattr__(threshold, "value", value)
    try:
        yield
    finally:
        object.__setattr__(threshold, "value", before)


def cross_validate(cases: Sequence[Case], runs: dict[str, Run | None]) -> str:
    """A table of the calibrated thresholds: value, values with the best F1 on the other families, and F1 on those left out.

    Ties go to the value in the table. Cost: the rules once for every case, threshold and value.
    """
    families = sorted({case.family for case in cases})
    lines = [f"{'threshold':18s} {'table':>8s}  chosen with one family left out      F1 in the table   F1 left out"]
    for name, threshold in all_thresholds().items():
        if threshold.origin != "calibrated":
            continue
        answers = {}
        for value in candidate_values(threshold):
            with threshold_at(threshold, value):
                answers[value] = [score_case(case, runs[case.name]) for case in cases]
        best_values, left_out = [], []
        for family in families:
            scores = {v: count_scores(a for a in group if a.case.family != family).f1 for v, group in answers.items()}
            best = max(scores, key=lambda v: (scores[v], v == threshold.value))
            best_values.append(best)
            left_out += [a for a in answers[best] if a.case.family == family]
        distinct = " ".join(f"{v:.3g}" for v in sorted(set(best_values)))
        lines.append(
            f"{name:18s} {threshold.value:8.3g}  {distinct:36s} {count_scores(answers[threshold.value]).f1:14.3f} "
            f"{count_scores(left_out).f1:13.3f}"
        )
    return "\n".join(lines)
