"""The remedies by name. It builds none before it is asked, and applies none."""

from __future__ import annotations

import difflib

from unvanish.errors import UnknownRemedy
from unvanish.remedies.batchnorm import BatchNorm
from unvanish.remedies.contract import Remedy
from unvanish.remedies.elu import Elu
from unvanish.remedies.glorot_init import GlorotInit
from unvanish.remedies.he_init import HeInit
from unvanish.remedies.relu import Relu

BUILT_IN: tuple[type[Remedy], ...] = (Relu, Elu, HeInit, GlorotInit, BatchNorm)


def names() -> tuple[str, ...]:
    """The public names of all remedies, in the order of the shelf."""
    return tuple(kind.name for kind in BUILT_IN)


def remedy(name: str) -> Remedy:
    """The remedy of that name. Raises UnknownRemedy, with the nearest name, where there is none."""
    for kind in BUILT_IN:
        if kind.name == name:
            return kind()
    nearest = difflib.get_close_matches(name.lower().replace("_", "-"), names(), n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise UnknownRemedy(f"no remedy is called {name!r}; {hint}the remedies are {', '.join(names())}")
