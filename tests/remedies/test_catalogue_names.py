"""The names that reports offer to apply are those of the shelf, which they cannot import."""

from __future__ import annotations

from unvanish.record.change import REMEDY_NAMES, known_remedies
from unvanish.remedies import names


def test_the_record_knows_the_names_on_the_shelf() -> None:
    assert set(names()) == REMEDY_NAMES


def test_a_pair_is_on_the_shelf_only_if_both_are() -> None:
    assert known_remedies(("relu + he-init", "relu + prayer", "penance", "elu")) == ("relu + he-init", "elu")
