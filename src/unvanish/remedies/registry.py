"""Looks remedies up by name, in the built-in catalogue or another one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TypeAlias

from unvanish.errors import UnknownRemedy
from unvanish.remedies.base import Remedy
from unvanish.remedies.catalogue import built_in

Catalogue: TypeAlias = Mapping[str, Remedy]
"""Remedies under their public names, in the order in which lists show them."""


@cache
def built_in_catalogue() -> Catalogue:
    """The remedies that come with the package."""
    return MappingProxyType({remedy.name: remedy for remedy in built_in()})


def get_remedy(name: str, catalogue: Catalogue | None = None) -> Remedy:
    """The remedy of that name in a catalogue, by default the built-in one.

    Raises UnknownRemedy, with the nearest name, where there is none.

    Example:
        >>> from unvanish.remedies import get_remedy
        >>> get_remedy("he-init").family
        'initialisation'
    """
    known = built_in_catalogue() if catalogue is None else catalogue
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(str(name).lower().replace("_", "-"), known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise UnknownRemedy(f"no remedy is called {name!r}; {hint}the remedies are {', '.join(known)}")


def remedy_names(catalogue: Catalogue | None = None) -> tuple[str, ...]:
    """The names of all remedies of a catalogue, by default the built-in one, in the order in which lists show them."""
    return tuple(built_in_catalogue() if catalogue is None else catalogue)
