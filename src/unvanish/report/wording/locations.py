"""How places in a network and in the user's source are said. It never looks at the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from unvanish.record.structure import Location


def span(sites: Sequence[str]) -> str:
    """The sites in few words: "net.0", "net.0 and net.2", "net.0 … net.12 (7 sites)"."""
    if len(sites) <= 2:
        return " and ".join(sites)
    return f"{sites[0]} … {sites[-1]} ({len(sites)} sites)"


def line_of(location: Location, script: str) -> str:
    """The source line as a person would name it: "examples/net.py:21".

    The path is the script's own where the line is in the script; else it is shortened to the part after the script's folder.
    """
    path, home = PurePath(location.file), PurePath(script)
    if script and path.parts[-len(home.parts) :] == home.parts:
        return f"{script}:{location.line}"
    if home.is_absolute() and path.is_relative_to(home.parent):
        return f"{path.relative_to(home.parent)}:{location.line}"
    return f"{PurePath(*path.parts[-2:])}:{location.line}"


def shortened(label: str, width: int) -> str:
    """The label cut in its middle to at most `width` characters: the ends tell sites apart."""
    if len(label) <= width:
        return label
    tail = (width - 1) * 2 // 3
    return f"{label[: width - 1 - tail]}…{label[-tail:]}"
