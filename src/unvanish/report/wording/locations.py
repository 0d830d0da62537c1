"""Formats sites of a network and lines of the user's source, and shortens labels; pure text, no file is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from unvanish.record.structure import Location


def format_sites(sites: Sequence[str]) -> str:
    """The sites in few words: "net.0", "net.0 and net.2", "net.0 … net.12 (7 sites)".

    Example:
        >>> format_sites(("a", "b", "c"))
        'a … c (3 sites)'
    """
    if len(sites) <= 2:
        return " and ".join(sites)
    return f"{sites[0]} … {sites[-1]} ({len(sites)} sites)"


def format_source_line(location: Location, script: str) -> str:
    """The source line as "examples/net.py:21", with the path as short as a person would write it.

    That is the script's own path where the line is in the script, else the part after the script's folder, else the last two parts.

    Arguments:
        script: the script's path as the user wrote it; "" where there is none.

    Example:
        >>> format_source_line(Location("/srv/code/examples/net.py", 21), "examples/net.py")
        'examples/net.py:21'
    """
    path, script_path = PurePath(location.file), PurePath(script)
    if script and path.parts[-len(script_path.parts) :] == script_path.parts:
        return f"{script}:{location.line}"
    if script_path.is_absolute() and path.is_relative_to(script_path.parent):
        return f"{path.relative_to(script_path.parent)}:{location.line}"
    return f"{PurePath(*path.parts[-2:])}:{location.line}"


def shorten_label(label: str, width: int) -> str:
    """The label cut in its middle to at most `width` characters, since sites differ at their ends.

    Example:
        >>> shorten_label("encoder.layers.0.self_attn.out_proj", 20)
        'encoder…ttn.out_proj'
    """
    if len(label) <= width:
        return label
    tail_length = (width - 1) * 2 // 3
    return f"{label[: width - 1 - tail_length]}…{label[-tail_length:]}"
