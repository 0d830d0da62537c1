"""Orders findings, the root first, and groups symptoms under the finding that causes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from unvanish.diagnose.rule import Rule
from unvanish.record.finding import Finding, Severity

_SEVERITY_ORDER = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def group_by_root(findings: Iterable[Finding], rules: Mapping[str, Rule]) -> list[Finding]:
    """The findings that a person should act on, most severe and nearest to the root first; each with its symptoms' codes.

    A finding explains another one when its rule says so, it is at least as severe (an INFO explains no WARNING), and it did
    not begin later. What a symptom explained before becomes a symptom of the same root, so that no code is lost. A finding of a
    rule with `last_resort` is dropped where another one is a WARNING or worse and does not explain it.

    Arguments:
        findings: In any order; several may have one code, such as those of two networks.
        rules: The rule of every code among the findings.
    """
    ordered = sorted(
        _drop_last_resorts(findings, rules), key=lambda f: (_SEVERITY_ORDER[f.severity], rules[f.code].rank, -f.confidence)
    )
    by_rank = sorted(ordered, key=lambda f: rules[f.code].rank)
    symptoms: dict[int, list[str]] = {}  # of a finding's id
    explained: set[int] = set()
    for root in by_rank:
        if id(root) in explained:
            continue
        for other in by_rank:
            if other is not root and id(other) not in explained and _explains(root, other, rules):
                explained.add(id(other))
                symptoms.setdefault(id(root), []).extend([other.code, *symptoms.pop(id(other), [])])
    roots = [f for f in ordered if id(f) not in explained]
    return [replace(f, symptoms=_unique((*f.symptoms, *symptoms.get(id(f), ())), but=f.code)) for f in roots]


def _drop_last_resorts(findings: Iterable[Finding], rules: Mapping[str, Rule]) -> list[Finding]:
    """The findings without those last resorts that no other one explains, where another one is a warning or worse."""
    candidates = list(findings)
    others = [f for f in candidates if f.severity.loud and not rules[f.code].last_resort]
    explained_codes = {code for f in others for code in rules[f.code].explains}
    return [f for f in candidates if not others or not rules[f.code].last_resort or f.code in explained_codes]


def _explains(root: Finding, other: Finding, rules: Mapping[str, Rule]) -> bool:
    is_as_severe = _SEVERITY_ORDER[root.severity] <= _SEVERITY_ORDER[other.severity]
    is_in_time = rules[other.code].last_resort or _began_no_later(root, other)
    return other.code in rules[root.code].explains and is_as_severe and is_in_time


def _unique(codes: Iterable[str], *, but: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(code for code in codes if code != but))


def _began_no_later(root: Finding, other: Finding) -> bool:
    return root.began is None or other.began is None or root.began <= other.began
