"""Which remedies to try for findings, and which go together. It knows names alone: nothing is planned or applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from unvanish.remedies.base import Remedy

Candidate = tuple[str, ...]

# What a remedy needs beside it to work as its paper says: rectifiers the scale that makes up for the half that they lose, gates
# that remember a bias that keeps them open, tailored activations inputs of unit size.
PARTNERS: Mapping[str, str] = {
    "relu": "he-init",
    "leaky-relu": "he-init",
    "elu": "he-init",
    "gelu": "he-init",
    "silu": "he-init",
    "lstm": "forget-bias",
    "identity-rnn-init": "clip-norm",
    "tailored-activation": "standardise-input",
}


def contenders(advised: Sequence[str], codes: Iterable[str], catalogue: Mapping[str, Remedy]) -> tuple[Candidate, ...]:
    """The combinations to race, likeliest first: as `candidates`, but a remedy that has a partner takes part with it alone.

    Combinations that were advised as such stay as they are.
    """
    found = candidates(advised, codes, catalogue)
    accompanied = {names[:1] for names in found if len(names) > 1 and PARTNERS.get(names[0]) == names[1]}
    return tuple(names for names in found if names not in accompanied)


def candidates(advised: Sequence[str], codes: Iterable[str], catalogue: Mapping[str, Remedy]) -> tuple[Candidate, ...]:
    """The combinations to consider: what the findings advise, in that order, then whatever else on the shelf treats their codes,
    code by code.

    `advised` are names, or names joined by " + ". Each combination is named once; a remedy that has a partner on the shelf is
    named with it and alone. Unknown names are left out.
    """
    others = [name for code in codes for name, remedy in catalogue.items() if code in remedy.treats]
    found: dict[Candidate, None] = {}
    for text in (*advised, *others):
        names = tuple(part.strip() for part in text.split("+"))
        if any(name not in catalogue for name in names):
            continue
        partner = PARTNERS.get(names[0], "") if len(names) == 1 else ""
        found[names] = None
        if partner in catalogue:
            found[(*names, partner)] = None
    return tuple(found)
