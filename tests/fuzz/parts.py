"""Loads the parts of which programs are composed, from the files in `parts/`.

A part gives code by the place in the program where it goes. In it STEP stands for the step at which it acts, and CONTEXT for the
contexts around a forward pass. Of a `group` a program has one part at most; `without` names parts with which it cannot run.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("parts")
FAMILIES = ("wrappers", "modes", "hooks", "faults", "ends", "surroundings")


@dataclass(frozen=True, slots=True)
class Part:
    """A part by its name, and its code by place: setup, model, optimizer, context, forward, update, after, loop or end."""

    name: str
    slots: Mapping[str, str]
    group: str = ""
    without: tuple[str, ...] = ()

    def goes_with(self, other: Part) -> bool:
        """Whether a program can hold both."""
        is_alike = self.group != "" and self.group == other.group
        return not (is_alike or other.name in self.without or self.name in other.without)


def load(family: str) -> tuple[Part, ...]:
    """The parts of a family, in the order of its file."""
    tables = tomllib.loads((FOLDER / f"{family}.toml").read_text())["part"]
    return tuple(
        Part(
            table["name"],
            {slot: code for slot, code in table.items() if slot not in ("name", "group", "without")},
            table.get("group", ""),
            tuple(table.get("without", ())),
        )
        for table in tables
    )


NETWORKS, UPDATES = load("networks"), load("updates")
PARTS = tuple(part for family in FAMILIES for part in load(family))
