"""Tests of the catalogue of demos: finding one by its name, its class, and its row in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from demo_sizes import TOYS

from unvanish.demos.catalogue import DEMOS, find_demo
from unvanish.demos.demo import Demo
from unvanish.errors import UsageError


@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_is_found_by_its_name_and_has_the_class_of_its_entry(name: str) -> None:
    demo = find_demo(name.upper().replace("-", "_")).load()
    assert isinstance(demo, Demo)
    assert type(demo) is type(TOYS[name])
    assert len(demo.trainings()) > len(demo.quick_version().trainings()) or name == "ten-thousand-layers"


def test_the_documentation_has_a_section_and_the_minutes_of_every_demo() -> None:
    text = (Path(__file__).parents[2] / "docs" / "demos.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `unvanish demo ([a-z-]+)` \| .+ \| (\d+) \|$", text, re.MULTILINE)
    assert rows == [(entry.name, str(entry.minutes)) for entry in DEMOS.values()]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(DEMOS)


def test_every_demo_is_tried_at_toy_size() -> None:
    assert set(TOYS) == set(DEMOS)


@pytest.mark.parametrize("name", DEMOS)
def test_the_trainings_of_a_demo_are_all_different_and_have_a_cost(name: str) -> None:
    trainings = find_demo(name).load().trainings()
    assert len({(training.label, training.seed) for training in trainings}) == len(trainings)
    assert all(training.relative_cost > 0 for training in trainings)


@pytest.mark.parametrize(
    ("misspelt", "meant"), [("memry", "memory"), ("ten-thousand", "ten-thousand-layers"), ("deep", "plain-deep")]
)
def test_a_misspelt_name_is_refused_with_the_nearest_one(misspelt: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {meant}"):
        find_demo(misspelt)


def test_a_name_like_no_other_is_refused_with_all_there_are() -> None:
    with pytest.raises(UsageError, match=r"no demo called zzz; .*activations, ten-thousand-layers"):
        find_demo("zzz")
