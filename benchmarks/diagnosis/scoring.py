"""Scores findings against the labels of experts: precision, recall, F1, false findings, and the calibration of confidences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.diagnosis.corpus import Case
from unvanish.diagnose import diagnose
from unvanish.record.finding import Finding
from unvanish.record.run import Run

# F1 of root causes, roots named, healthy flagged, false findings, on the same visible cases (measured for this project).
PEER_SCORES = (
    ("AUTOTRAINER's rules", 0.27, "12 of 61", "2 of 18", 17),
    ("torch-audit 0.3.0", 0.28, "11 of 61", "1 of 18", 7),
    ("torchmortem 0.1.1", 0.20, "17 of 60", "15 of 18", 94),
)
CONFIDENCE_BINS = (0.0, 0.75, 0.85, 0.93, 1.01)


@dataclass(frozen=True, slots=True)
class CaseAnswer:
    """The loud findings of one case, and whether they agree with its labels.

    `right` says of each loud finding whether it is true, as root or as symptom; `named` whether a root is among them, `first`
    whether the first one is a root, and `cause` whether a root finding has a right cause.
    """

    case: Case
    loud: tuple[Finding, ...]
    right: tuple[bool, ...]
    named: bool
    first: bool
    cause: bool

    @property
    def false(self) -> tuple[str, ...]:
        """Codes of the findings that are not true of the case."""
        return tuple(f.code for f, right in zip(self.loud, self.right, strict=True) if not right)


@dataclass(frozen=True, slots=True)
class Scores:
    """Counts over some answers."""

    sick: int
    named: int
    first: int
    cause: int
    healthy: int
    flagged: int
    false: int

    @property
    def precision(self) -> float:
        """True findings over all: roots named, over these and false findings."""
        return self.named / max(1, self.named + self.false)

    @property
    def recall(self) -> float:
        """Roots named over sick cases."""
        return self.named / max(1, self.sick)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return 2 * self.named / max(1, self.named + self.false + self.sick)


def score_case(case: Case, run: Run | None) -> CaseAnswer:
    """The findings of the rules for a case's record, compared with its labels."""
    loud = tuple(f for f in (diagnose(run) if run is not None else ()) if f.severity.loud)
    roots = tuple(_is_root(case, finding) for finding in loud)
    right = tuple(not case.healthy and (hit or f.code in case.also) for f, hit in zip(loud, roots, strict=True))
    known = case.causes | case.findings
    cause = any(f.code in case.findings and (f.cause.code if f.cause else f.code) in known for f in loud)
    return CaseAnswer(case, loud, right, any(roots), bool(roots) and roots[0], cause)


def _is_root(case: Case, finding: Finding) -> bool:
    by_cause = finding.cause is not None and finding.cause.code in case.causes
    return finding.code in case.findings | case.causes or by_cause


def count_scores(answers: Iterable[CaseAnswer]) -> Scores:
    """The counts over some answers."""
    answers = list(answers)
    sick, healthy = ([a for a in answers if a.case.healthy is is_healthy] for is_healthy in (False, True))
    named, first, cause = (sum(getattr(a, name) for a in sick) for name in ("named", "first", "cause"))
    return Scores(
        len(sick), named, first, cause, len(healthy), sum(bool(a.false) for a in healthy), sum(len(a.false) for a in answers)
    )


def format_overall(answers: Sequence[CaseAnswer]) -> str:
    """The scores of all cases, of each group of cases, and of other tools."""
    lines = [f"{'':24s} {'F1':>5s}  precision recall  root named   first  cause   healthy flagged  false"]
    lines.append(_format_row("all", count_scores(answers)))
    for title, key in (
        ("source", lambda a: a.case.source),
        ("family", lambda a: a.case.family),
        ("variation", lambda a: a.case.variation),
    ):
        lines += [
            _format_row(f"{title} {name or 'none'}", count_scores(group)) for name, group in group_answers(answers, key).items()
        ]
    lines += [
        f"{name:24s} {f1:5.2f}  {'':16s} {named:>11s}  {'':13s} {flagged:>15s}  {false:5d}"
        for name, f1, named, flagged, false in PEER_SCORES
    ]
    return "\n".join(lines)


def _format_row(name: str, s: Scores) -> str:
    counts = f"{s.named} of {s.sick}"
    flagged = f"{s.flagged} of {s.healthy}"
    rates = f"{s.f1:5.3f}  {s.precision:9.3f} {s.recall:6.3f}"
    return f"{name:24s} {rates} {counts:>11s}  {s.first:6d} {s.cause:6d}  {flagged:>15s}  {s.false:5d}"


def format_by_code(answers: Sequence[CaseAnswer]) -> str:
    """For every code: precision, recall and F1 of naming it, or another of the case's roots, where it is a root."""
    codes = sorted({code for a in answers for code in (*a.case.findings, *(f.code for f in a.loud))})
    lines = [f"{'code':26s} roots  named  false  precision recall    F1"]
    for code in codes:
        with_code = [a for a in answers if code in a.case.findings]
        named, false = sum(a.named for a in with_code), sum(a.false.count(code) for a in answers)
        s = Scores(len(with_code), named, 0, 0, 0, 0, false)
        lines.append(f"{code:26s} {len(with_code):5d}  {named:5d}  {false:5d}  {s.precision:9.3f} {s.recall:6.3f} {s.f1:5.3f}")
    return "\n".join(lines)


def format_calibration(answers: Sequence[CaseAnswer]) -> str:
    """Of the loud findings with a confidence in each range: how many, their mean confidence, and the share that is right."""
    pairs = [(f.confidence, right) for a in answers for f, right in zip(a.loud, a.right, strict=True)]
    lines = ["confidence     findings   mean   right"]
    for low, high in pairwise(CONFIDENCE_BINS):
        inside = [(c, right) for c, right in pairs if low <= c < high]
        if inside:
            mean, share = (sum(column) / len(inside) for column in zip(*inside, strict=True))
            lines.append(f"{low:.2f} to {min(high, 1.0):.2f} {len(inside):9d}   {mean:.2f}   {share:.2f}")
    return "\n".join(lines)


def format_misses(answers: Sequence[CaseAnswer]) -> str:
    """One line for every case whose root is not first, whose cause is wrong, or that has a false finding."""
    lines: list[str] = []
    for a in answers:
        if a.false or (not a.case.healthy and not (a.first and a.cause)):
            expected = "healthy" if a.case.healthy else "+".join(sorted(a.case.findings)) + " < " + "+".join(sorted(a.case.causes))
            findings = ", ".join(f"{f.code} < {f.cause.code if f.cause else '?'} ({f.confidence:.2f})" for f in a.loud) or "nothing"
            lines.append(f"  {a.case.name:28s} {expected}: {findings}")
    return "\n".join(lines) or "  none"


def format_agreement(full: Mapping[str, CaseAnswer], short: Mapping[str, CaseAnswer]) -> str:
    """How often a run cut short gets the same health and the same first finding as the whole run."""
    names = sorted(set(full) & set(short))
    same_health = [bool(full[n].loud) == bool(short[n].loud) for n in names]
    same_root = [_first_code(full[n]) == _first_code(short[n]) for n in names]
    right = [full[n].first == short[n].first and bool(full[n].false) == bool(short[n].false) for n in names]
    return (
        f"verdict after 50 steps against the whole run: the same health in {sum(same_health)} of {len(names)}, the same "
        "root finding in "
        f"{sum(same_root)}, as right or wrong in {sum(right)}"
    )


def _first_code(answer: CaseAnswer) -> str | None:
    return answer.loud[0].code if answer.loud else None


def group_answers(answers: Sequence[CaseAnswer], key: Callable[[CaseAnswer], str]) -> dict[str, list[CaseAnswer]]:
    """The answers by a key, in order."""
    groups: dict[str, list[CaseAnswer]] = defaultdict(list)
    for answer in answers:
        groups[key(answer)].append(answer)
    return dict(sorted(groups.items()))
