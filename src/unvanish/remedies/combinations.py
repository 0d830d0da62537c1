"""Chooses which combinations of remedies to try for findings, by name alone; nothing is planned or applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from unvanish.remedies.base import Remedy

Combination: TypeAlias = tuple[str, ...]
"""Names of remedies that are applied together, in order."""

# What a remedy needs beside it to work as its paper says: rectifiers need the weight scale that makes up for the half of the signal
# that they lose, gates a bias that keeps them open, tailored activations inputs of unit size.
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


def combinations_to_race(advised: Sequence[str], codes: Iterable[str], catalogue: Mapping[str, Remedy]) -> tuple[Combination, ...]:
    """The combinations to race, likeliest first: `candidate_combinations` without remedies that also come with their partner.

    Arguments as for `candidate_combinations`.

    Example:
        >>> from unvanish.remedies import built_in_catalogue
        >>> from unvanish.remedies.combinations import combinations_to_race
        >>> combinations_to_race(["relu", "batchnorm"], [], built_in_catalogue())
        (('relu', 'he-init'), ('batchnorm',))
    """
    combinations = candidate_combinations(advised, codes, catalogue)
    with_partner = {names[:1] for names in combinations if len(names) > 1 and PARTNERS.get(names[0]) == names[1]}
    return tuple(names for names in combinations if names not in with_partner)


def candidate_combinations(
    advised: Sequence[str], codes: Iterable[str], catalogue: Mapping[str, Remedy]
) -> tuple[Combination, ...]:
    """The combinations to consider, each once: what the findings advise, then all other remedies that treat their codes.

    A remedy that has a partner in the catalogue comes alone, then with it. Combinations with unknown names are left out.

    Arguments:
        advised: names of remedies, or names joined by " + ", likeliest first.
        codes: the codes of the findings, in order of importance.
        catalogue: remedies by name.
    """
    others = [name for code in codes for name, remedy in catalogue.items() if code in remedy.treats]
    combinations: dict[Combination, None] = {}
    for text in (*advised, *others):
        names = tuple(part.strip() for part in text.split("+"))
        if any(name not in catalogue for name in names):
            continue
        partner = PARTNERS.get(names[0], "") if len(names) == 1 else ""
        combinations[names] = None
        if partner in catalogue:
            combinations[(*names, partner)] = None
    return tuple(combinations)
