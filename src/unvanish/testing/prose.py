"""Checks the wording of texts that people read: no hedges, exclamation marks or missing numbers, and summaries of one sentence."""

from __future__ import annotations

import re

HEDGES = ("might", "possibly", "maybe", "perhaps")
_HEDGE = re.compile(rf"\b({'|'.join(HEDGES)})\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.?!][\"')]?\s+[A-Z]")
_EXCLAMATION_MARK = re.compile(r"!(?!=)")
_MISSING_NUMBER = re.compile(r"(?<![\w-])(nan|None)(?![\w-])")


def find_wording_problems(text: str) -> list[str]:
    """The problems of a text, one phrase each; empty where there are none."""
    problems = [f"says {match[0]!r}: give a confidence instead of a hedge" for match in _HEDGE.finditer(text)]
    problems += ["has an exclamation mark"] if _EXCLAMATION_MARK.search(text) else []
    problems += [f"shows {match[0]!r}: say what was not measured, or leave it out" for match in _MISSING_NUMBER.finditer(text)]
    return problems if text.strip() else ["is empty"]


def is_one_sentence(text: str) -> bool:
    """Whether a text is one sentence that begins with a capital or a digit and ends with a full stop."""
    starts_well = text[:1].isupper() or not text[:1].isalpha()
    return bool(text) and starts_well and text.endswith(".") and not _SENTENCE_END.search(text[:-1])
