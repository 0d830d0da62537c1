"""The cards of findings and remedies: every one is listed with a line, and explained in full."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nursery import Nursery

from unvanish.diagnose.rules import built_in
from unvanish.remedies import names

SHELVES = {"rules": [rule.code for rule in built_in()], "remedies": names()}


@pytest.mark.parametrize("shelf", SHELVES)
def test_a_shelf_is_listed_with_a_line_for_each(shelf: str, tmp_path: Path, nursery: Nursery) -> None:
    listed = nursery.unvanish(tmp_path, "list", shelf, "--json", "-")
    entries = json.loads(listed.out)
    assert sorted(entry["name"] for entry in entries) == sorted(SHELVES[shelf])
    assert all(entry["summary"].endswith(".") for entry in entries)
    shown = nursery.unvanish(tmp_path, "list", shelf)
    assert (listed.code, shown.code, shown.err) == (0, 0, "")
    assert all(name in shown.out.decode() for name in SHELVES[shelf])


@pytest.mark.parametrize("name", ["vanishing-gradient", "batchnorm"])
def test_a_card_says_why_it_matters_and_where_it_comes_from(name: str, tmp_path: Path, nursery: Nursery) -> None:
    card = nursery.unvanish(tmp_path, "explain", name)
    assert (card.code, card.err) == (0, "")
    assert card.out.decode().splitlines()[0] == name
    assert "References" in card.out.decode()


def test_a_code_that_is_misspelt_is_refused_with_the_nearest_one(tmp_path: Path, nursery: Nursery) -> None:
    refused = nursery.unvanish(tmp_path, "explain", "vanishing-gradients")
    assert (refused.code, refused.out) == (2, b"")
    assert "did you mean vanishing-gradient?" in refused.err
