"""Tests that the names of remedies in the record, which cannot import the catalogue, equal those of the catalogue."""

from __future__ import annotations

from unvanish.record.network_changes import REMEDY_NAMES, known_remedies
from unvanish.remedies import remedy_names


def test_the_record_has_the_names_of_the_catalogue() -> None:
    assert set(remedy_names()) == REMEDY_NAMES


def test_a_combination_is_known_only_if_all_its_remedies_are() -> None:
    assert known_remedies(("relu + he-init", "relu + prayer", "penance", "elu")) == ("relu + he-init", "elu")
