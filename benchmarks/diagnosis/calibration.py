"""Sets each calibrated threshold on all families but one, and tries it on that one: whether what was learned here holds
elsewhere.

Every threshold whose origin is "calibrated" is moved by itself over a few values about the one in the table, with the others as
they are.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from benchmarks.diagnosis.corpus import Case
from benchmarks.diagnosis.scoring import answer, score
from unvanish.diagnose.thresholds import Threshold, table
from unvanish.record.run import Run

STEPS = (-0.5, -0.25, 0.0, 0.25, 0.5)  # of the value itself, of a log10 in decades


def values(threshold: Threshold) -> list[float]:
    """What is tried in a threshold's place."""
    if threshold.unit == "log10":
        return [threshold.value + step for step in STEPS]
    return [threshold.value * (1 + step) for step in STEPS]


@contextmanager
def moved(threshold: Threshold, value: float) -> Generator[None]:
    """The threshold at another value. It is frozen for everybody else, and this is the only place that goes around it."""
    before = threshold.value
    object.__setattr__(threshold, "value", value)
    try:
        yield
    finally:
        object.__setattr__(threshold, "value", before)


def cross_validated(cases: Sequence[Case], runs: dict[str, Run | None]) -> str:
    """For every calibrated threshold: the value in the table, the values that the families chose, and F1 on the families left out.

    Ties go to the value in the table. Cost: the rules once for every case, threshold and value.
    """
    families = sorted({case.family for case in cases})
    lines = [f"{'threshold':18s} {'table':>8s}  chosen with one family left out      F1 in the table   F1 left out"]
    for name, threshold in table().items():
        if threshold.origin != "calibrated":
            continue
        answers = {}
        for value in values(threshold):
            with moved(threshold, value):
                answers[value] = [answer(case, runs[case.name]) for case in cases]
        chosen, left_out = [], []
        for family in families:
            scores = {v: score(a for a in given if a.case.family != family).f1 for v, given in answers.items()}
            best = max(scores, key=lambda v: (scores[v], v == threshold.value))
            chosen.append(best)
            left_out += [a for a in answers[best] if a.case.family == family]
        spread = " ".join(f"{v:.3g}" for v in sorted(set(chosen)))
        lines.append(
            f"{name:18s} {threshold.value:8.3g}  {spread:36s} {score(answers[threshold.value]).f1:14.3f} {score(left_out).f1:13.3f}"
        )
    return "\n".join(lines)
