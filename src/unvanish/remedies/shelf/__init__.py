"""The remedies that come with the package, one a file. Nothing here chooses between them."""

from __future__ import annotations

from unvanish.remedies.contract import Remedy
from unvanish.remedies.shelf.batchnorm import BatchNorm
from unvanish.remedies.shelf.elu import Elu
from unvanish.remedies.shelf.glorot_init import GlorotInit
from unvanish.remedies.shelf.he_init import HeInit
from unvanish.remedies.shelf.relu import Relu


def built_in() -> tuple[Remedy, ...]:
    """One of each, in the order in which lists show them: activation, initialisation, normalisation, architecture, optimisation,
    data, output."""
    return (Relu(), Elu(), HeInit(), GlorotInit(), BatchNorm())
