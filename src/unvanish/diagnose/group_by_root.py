"""Orders findings, the root first, and folds symptoms under the finding that causes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from unvanish.diagnose.rule import Rule
from unvanish.record.finding import Finding, Severity

_WEIGHT = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def group_by_root(findings: Iterable[Finding], rules: Mapping[str, Rule]) -> list[Finding]:
    """The findings that a person should act on, most severe and nearest to the root first; each with its symptoms' codes.

    A finding explains another one when its rule says so, it is at least as severe (a remark explains no illness), and it did
    not begin later. What a symptom explained before becomes a symptom of the same root, so that no code is lost. What was concluded
    as a last resort, because nothing else was found, is withdrawn where something else was.
    """
    ordered = sorted(_withdrawn(findings, rules), key=lambda f: (_WEIGHT[f.severity], rules[f.code].rank, -f.confidence))
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


def _withdrawn(findings: Iterable[Finding], rules: Mapping[str, Rule]) -> list[Finding]:
    """The findings without last resorts that nothing explains, where something else is loud."""
    given = list(findings)
    others = [f for f in given if f.severity.loud and not rules[f.code].last_resort]
    explained = {code for f in others for code in rules[f.code].explains}
    return [f for f in given if not others or not rules[f.code].last_resort or f.code in explained]


def _explains(root: Finding, other: Finding, rules: Mapping[str, Rule]) -> bool:
    severe = _WEIGHT[root.severity] <= _WEIGHT[other.severity]
    timely = rules[other.code].last_resort or _not_after(root, other)
    return other.code in rules[root.code].explains and severe and timely


def _each_once(codes: Iterable[str], *, but: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(code for code in codes if code != but))


def _not_after(root: Finding, other: Finding) -> bool:
    return root.began is None or other.began is None or root.began <= other.began
