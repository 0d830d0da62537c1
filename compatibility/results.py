"""Keeps the cells that were measured, each row in a file of its own, so that an interrupted table goes on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from compatibility.row import Cell, Row, RowResult, State

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "build" / "compatibility"


def source_stamp(row: Row) -> str:
    """A hash of the package's sources, the row and its program: cells of another stamp are measured again."""
    digest = hashlib.sha256(repr(row).encode())
    programs = REPOSITORY / "compatibility" / "programs"
    for folder in (REPOSITORY / "src", programs / "shared", programs / row.program):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(REPOSITORY)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def read_result(row: Row) -> RowResult | None:
    """What was measured last of a row; None where nothing was."""
    try:
        stored = json.loads((FOLDER / f"{row.name}.json").read_text(encoding="utf-8"))
    except OSError:
        return None
    cells = {name: Cell(State(cell["state"]), cell["detail"]) for name, cell in stored["cells"].items()}
    return RowResult(stored["name"], stored["stamp"], cells)


def write_result(result: RowResult) -> None:
    """Keeps a row's cells."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{result.name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")
    partial.replace(path)
