"""Variations of labelled scripts: another seed, width, depth, learning rate, or half the data; each proved before it counts.

A label need not survive a change. A sick variation counts only if the original's cure still closes most of the gap, a healthy
one only if it still does about as well: both are run to see.
"""

from __future__ import annotations

import math
import random
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.diagnosis.corpus import Case, run_script, varied

RESULT = re.compile(r"RESULT metric=\S+ value=(\S+)")
WIDTHS = r"(\b(?:width|hidden|n_hidden|dim|DIM|channels|units|WIDTH|HIDDEN)\s*=\s*)(\d+)"
DEPTHS = r"(\b(?:depth|n_layers|num_layers|layers|blocks|DEPTH|LAYERS)\s*=\s*|\brange\()(\d+)(?=[,)\s])"
RATES = r"(\blr\s*=\s*)([\d.]+(?:e-?\d+)?)"
HALVED = r"(\[\"(?:x_train|y_train)\"\])"
GAP = 0.5  # of the original gap between sick and cured that must be left
ABOUT = 0.1  # by how much a healthy score may fall


def _scaled(pattern: str, factor: float, *, whole: bool) -> Callable[[str], str]:
    """Multiplies the numbers that a pattern finds; whole ones stay even."""

    def change(match: re.Match[str]) -> str:
        value = float(match[2]) * factor
        return match[1] + (str(max(2, 2 * round(value / 2))) if whole else f"{value:.3g}")

    return lambda text: re.sub(pattern, change, text)


CHANGES: dict[str, Callable[[str], str]] = {
    "wider": _scaled(WIDTHS, 1.5, whole=True),
    "deeper": _scaled(DEPTHS, 1.25, whole=True),
    "faster": _scaled(RATES, 1.5, whole=False),
    "slower": _scaled(RATES, 0.67, whole=False),
    "half the data": lambda text: re.sub(HALVED, r"\1[::2]", text),
}


def variations(originals: list[Case], *, each: int, jobs: int, seed: int = 0) -> list[Case]:
    """Proved variations of the cases, up to `each` of one case besides another seed, drawn by `seed`."""
    draw = random.Random(seed)
    drafts = [draft for case in originals for draft in _drafts(case, draw, each)]
    with ThreadPoolExecutor(jobs) as pool:
        proved = list(pool.map(holds, drafts))
    return [draft for draft, good in zip(drafts, proved, strict=True) if good]


def _drafts(case: Case, draw: random.Random, each: int) -> list[Case]:
    names = [name for name, change in CHANGES.items() if change(case.text) != case.text]
    chosen = draw.sample(names, min(each, len(names)))
    drafts = [varied(case, name, CHANGES[name](case.text), seed=3) for name in chosen]
    return [varied(case, "another seed", case.text, seed=4), *drafts]


def holds(case: Case) -> bool:
    """Whether the label still holds for a variation, by running it (and its cure)."""
    label = case.label
    higher = label.get("higher_is_better", True)
    own = _result(case)
    if case.healthy:
        usual = sum(label["healthy_values"]) / len(label["healthy_values"])
        allowed = ABOUT if higher else 0.5 * abs(usual)
        return math.isfinite(own) and (own - usual if higher else usual - own) >= -allowed
    text = case.text
    for old, new in label["fix"]:
        if old not in text:
            return False
        text = text.replace(old, new)
    cured = _result(varied(case, "cured", text, seed=case.seed))
    if not math.isfinite(cured):
        return False
    if not math.isfinite(own):
        return True
    finite = [v for v in label["sick"] if isinstance(v, int | float) and math.isfinite(v)]
    before = (sum(label["cured"]) / 3 - sum(finite) / len(finite)) if finite else cured - own
    gap = cured - own
    return gap * (1 if higher else -1) > 0 and abs(gap) >= GAP * abs(before)


def _result(case: Case) -> float:
    found = RESULT.findall(run_script(case, [sys.executable, case.file]))
    return float(found[-1]) if found else math.nan
