"""Compares what a program prints watched with what it prints alone, as far as it prints the same twice alone."""

from __future__ import annotations

import re
from itertools import zip_longest

from compatibility.process import Ended

FINGERPRINT = "fingerprint of"
"""With these words `programs/shared/fingerprint.py` begins the hashes of losses, weights and random state."""
OWN_NAME = "unvanish: "
VARYING = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?([eE][+-]?\d+)?|[█▏▎▍▌▋▊▉━╸╺#]+|\s+")
"""Of an error line: numbers, addresses, progress bars and spaces."""


def differing_output(first: Ended, second: Ended, watched: Ended) -> tuple[list[str], list[str]]:
    """What the watched run prints otherwise than both runs alone, line by line, and the lines that vary alone."""
    alone, again, lines = (ended.output.splitlines() for ended in (first, second, watched))
    if len(alone) != len(again):
        known = {reduced(line) for line in alone + again}
        return [line for line in lines if reduced(line) not in known], [line for line in alone if line not in set(again)]
    if len(lines) != len(alone):
        extra = [line for line in lines if reduced(line) not in {reduced(known) for known in alone}]
        return extra or [f"{len(lines)} lines in place of {len(alone)}"], []
    triples = list(zip(alone, again, lines, strict=True))
    differing = [f"{line!r} in place of {one!r}" for one, other, line in triples if one == other != line]
    return differing, [one for one, other, _ in triples if one != other]


def differing_roughly(alone: Ended, watched: Ended) -> list[str]:
    """What the watched run prints otherwise than one run alone, whose times may vary: hashes exactly, other lines by words."""
    differing: list[str] = []
    for one, line in zip_longest(alone.output.splitlines(), watched.output.splitlines(), fillvalue=""):
        same = one == line if one.startswith(FINGERPRINT) else reduced(one) == reduced(line)
        if not same:
            differing.append(f"{line!r} in place of {one!r}")
    return differing


def new_errors(first: Ended, second: Ended, watched: Ended) -> list[str]:
    """Lines of standard error that only the watched run has, but for numbers, progress bars and what we say in our own name."""
    known = {reduced(line) for ended in (first, second) for line in physical_lines(ended.errors)}
    return [line for line in physical_lines(watched.errors) if reduced(line) not in known and not line.startswith(OWN_NAME)]


def physical_lines(text: str) -> list[str]:
    """Lines as they were written, also those that a progress bar wrote over each other."""
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


def reduced(line: str) -> str:
    """A line without what varies from run to run."""
    return VARYING.sub("", line)


def last_figure(output: str, name: str) -> float | None:
    """The last value printed for a name, as in `val_accuracy 0.97`, `val_accuracy: 0.97` or `'val_accuracy': 0.97`."""
    found = re.findall(rf"\b{re.escape(name)}\b['\"]?[\s:=|│]+([-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf))", output)
    return float(found[-1]) if found else None
