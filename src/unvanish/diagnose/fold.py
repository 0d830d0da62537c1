"""Orders findings, the root first, and folds symptoms under the finding that causes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from unvanish.diagnose.rule import Rule
from unvanish.record.finding import Finding, Severity

_WEIGHT = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def fold(findings: Iterable[Finding], rules: Mapping[str, Rule]) -> list[Finding]:
    """The findings that a person should act on, most severe and nearest to the root first; each with its symptoms' codes.

    A finding explains another one when its rule says so, it is at least as severe (a remark explains no illness), and it did
    not begin later. What is a last resort follows from any other loud finding. What a symptom explained before becomes a
    symptom of the same root, so that no code is lost.
    """
    ordered = sorted(findings, key=lambda f: (_WEIGHT[f.severity], rules[f.code].rank, -f.confidence))
    by_rank = sorted(ordered, key=lambda f: rules[f.code].rank)
    explained: dict[int, list[str]] = {}
    hidden: set[int] = set()
    for root in by_rank:
        if id(root) in hidden:
            continue
        for other in by_rank:
            if other is not root and id(other) not in hidden and _explains(root, other, rules):
                hidden.add(id(other))
                explained.setdefault(id(root), []).extend([other.code, *explained.pop(id(other), [])])
    kept = [f for f in ordered if id(f) not in hidden]
    return [replace(f, symptoms=_each_once((*f.symptoms, *explained.get(id(f), ())), but=f.code)) for f in kept]


def _explains(root: Finding, other: Finding, rules: Mapping[str, Rule]) -> bool:
    if rules[other.code].last_resort and not rules[root.code].last_resort and root.severity.loud:
        return True
    severe = _WEIGHT[root.severity] <= _WEIGHT[other.severity]
    return other.code in rules[root.code].explains and severe and _not_after(root, other)


def _each_once(codes: Iterable[str], *, but: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(code for code in codes if code != but))


def _not_after(root: Finding, other: Finding) -> bool:
    return root.began is None or other.began is None or root.began <= other.began
