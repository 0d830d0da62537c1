"""How a finding must speak: one sentence, certain or silent. It looks at text alone, and says what is wrong with it."""

from __future__ import annotations

import re

HEDGES = ("might", "possibly", "maybe", "perhaps")
_HEDGE = re.compile(rf"\b({'|'.join(HEDGES)})\b", re.IGNORECASE)
_INNER_END = re.compile(r"[.?!][\"')]?\s+[A-Z]")
_EXCLAIMED = re.compile(r"!(?!=)")
_NO_NUMBER = re.compile(r"(?<![\w-])(nan|None)(?![\w-])")


def objections(text: str) -> list[str]:
    """What is wrong with a text that people read; empty where nothing is."""
    found = [f"says {match[0]!r}: give a confidence instead of a hedge" for match in _HEDGE.finditer(text)]
    found += ["has an exclamation mark"] if _EXCLAIMED.search(text) else []
    found += [f"shows {match[0]!r}: say what was not measured, or leave it out" for match in _NO_NUMBER.finditer(text)]
    return found if text.strip() else ["is empty"]


def is_one_sentence(text: str) -> bool:
    """Whether a text is one sentence, with a capital or a figure at its start and a full stop at its end."""
    starts = text[:1].isupper() or not text[:1].isalpha()
    return bool(text) and starts and text.endswith(".") and not _INNER_END.search(text[:-1])
