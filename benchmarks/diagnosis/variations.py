"""Makes variations of labelled scripts: another seed, width, depth, learning rate, or half the data.

A change can make a label wrong, so each variation is run: a sick one is kept only if the original's cure still closes most of the
gap, a healthy one only if it scores about as well.
"""

from __future__ import annotations

import math
import random
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.diagnosis.corpus import Case, make_variation, run_script

RESULT_PATTERN = re.compile(r"RESULT metric=\S+ value=(\S+)")
WIDTH_PATTERN = r"(\b(?:width|hidden|n_hidden|dim|DIM|channels|units|WIDTH|HIDDEN)\s*=\s*)(\d+)"
DEPTH_PATTERN = r"(\b(?:depth|n_layers|num_layers|layers|blocks|DEPTH|LAYERS)\s*=\s*|\brange\()(\d+)(?=[,)\s])"
LEARNING_RATE_PATTERN = r"(\blr\s*=\s*)([\d.]+(?:e-?\d+)?)"
HALF_DATA = r"(\[\"(?:x_train|y_train)\"\])"
MIN_GAP_LEFT = 0.5  # of the original gap between sick and cured that must be left
HEALTHY_TOLERANCE = 0.1  # by how much a healthy score may fall


def _scale_numbers(pattern: str, factor: float, *, is_integer: bool) -> Callable[[str], str]:
    """A function that multiplies the numbers matched by a pattern in a text; integers stay even."""

    def change(match: re.Match[str]) -> str:
        value = float(match[2]) * factor
        return match[1] + (str(max(2, 2 * round(value / 2))) if is_integer else f"{value:.3g}")

    return lambda text: re.sub(pattern, change, text)


CHANGES: dict[str, Callable[[str], str]] = {
    "wider": _scale_numbers(WIDTH_PATTERN, 1.5, is_integer=True),
    "deeper": _scale_numbers(DEPTH_PATTERN, 1.25, is_integer=True),
    "faster": _scale_numbers(LEARNING_RATE_PATTERN, 1.5, is_integer=False),
    "slower": _scale_numbers(LEARNING_RATE_PATTERN, 0.67, is_integer=False),
    "half the data": lambda text: re.sub(HALF_DATA, r"\1[::2]", text),
}


def make_variations(originals: list[Case], *, each: int, jobs: int, seed: int = 0) -> list[Case]:
    """Variations whose labels hold: one with another seed and up to `each` others of every case, drawn by `seed`."""
    generator = random.Random(seed)
    drafts = [draft for case in originals for draft in _draft_variations(case, generator, each)]
    with ThreadPoolExecutor(jobs) as pool:
        verdicts = list(pool.map(label_holds, drafts))
    return [draft for draft, holds in zip(drafts, verdicts, strict=True) if holds]


def _draft_variations(case: Case, generator: random.Random, each: int) -> list[Case]:
    names = [name for name, change in CHANGES.items() if change(case.text) != case.text]
    selected = generator.sample(names, min(each, len(names)))
    drafts = [make_variation(case, name, CHANGES[name](case.text), seed=3) for name in selected]
    return [make_variation(case, "another seed", case.text, seed=4), *drafts]


def label_holds(case: Case) -> bool:
    """Whether the label still holds for a variation, found by running it, and a sick one with its cure too."""
    label = case.label
    higher = label.get("higher_is_better", True)
    score = _run_for_result(case)
    if case.healthy:
        usual = sum(label["healthy_values"]) / len(label["healthy_values"])
        allowed = HEALTHY_TOLERANCE if higher else 0.5 * abs(usual)
        return math.isfinite(score) and (score - usual if higher else usual - score) >= -allowed
    text = case.text
    for old, new in label["fix"]:
        if old not in text:
            return False
        text = text.replace(old, new)
    cured = _run_for_result(make_variation(case, "cured", text, seed=case.seed))
    if not math.isfinite(cured):
        return False
    if not math.isfinite(score):
        return True
    finite = [v for v in label["sick"] if isinstance(v, int | float) and math.isfinite(v)]
    before = (sum(label["cured"]) / 3 - sum(finite) / len(finite)) if finite else cured - score
    gap = cured - score
    return gap * (1 if higher else -1) > 0 and abs(gap) >= MIN_GAP_LEFT * abs(before)


def _run_for_result(case: Case) -> float:
    values = RESULT_PATTERN.findall(run_script(case, [sys.executable, case.file]))
    return float(values[-1]) if values else math.nan
