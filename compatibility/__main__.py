"""`python -m compatibility [ROW ...]`: runs what was not measured with the present sources, and writes docs/compatibility.md."""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from compatibility.examine import Examination, missing_needs
from compatibility.page import format_page
from compatibility.results import REPOSITORY, read_result, source_stamp, write_result
from compatibility.row import COLUMNS, Cell, Row, RowResult, State
from compatibility.rows import ROWS

MARKS = {State.YES: "yes", State.NO: "NO", State.DOES_NOT_APPLY: "-"}
PAGE = REPOSITORY / "docs" / "compatibility.md"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m compatibility", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to run; by default all")
    parser.add_argument(
        "--column", action="append", choices=[c.name for c in COLUMNS], help="a column to fill in; may be repeated; by default all"
    )
    parser.add_argument("--again", action="store_true", help="measure also what was measured with the present sources")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time; by default one, since a race uses all cores")
    parser.add_argument("--keep", type=Path, help="a folder in which programs, output and patches stay for a look at them")
    parser.add_argument("--list", action="store_true", help="list the rows and end")
    parser.add_argument("--page", action="store_true", help="measure nothing, and write the page of what is stored")
    return parser.parse_args()


def choose(names: Sequence[str]) -> list[Row]:
    """The rows of these names, all without any.

    Raises SystemExit where there is no row of a name.
    """
    by_name = {row.name: row for row in ROWS}
    if unknown := [name for name in names if name not in by_name]:
        raise SystemExit(f"no row is called {unknown[0]}; python -m compatibility --list names them")
    return [by_name[name] for name in names] or list(ROWS)


def measure(row: Row, columns: Sequence[str], *, again: bool, keep: Path | None) -> RowResult:
    """The cells of a row, those that are missing measured and kept."""
    stamp = source_stamp(row)
    stored = read_result(row)
    cells = dict(stored.cells) if stored is not None and stored.stamp == stamp else {}
    if missing := missing_needs(row):
        cells = dict.fromkeys(columns, Cell(State.DOES_NOT_APPLY, f"not installed here: {', '.join(missing)}"))
    wanted = [name for name in columns if again or name not in cells]
    if wanted:
        cells |= examine_below(row, wanted, keep)
        write_result(RowResult(row.name, stamp, cells))
    return RowResult(row.name, stamp, cells)


def examine_below(row: Row, wanted: Sequence[str], keep: Path | None) -> dict[str, Cell]:
    """The cells of the columns wanted, measured in a folder that is kept or goes."""
    if keep is not None:
        folder = (keep / row.name).resolve()
        shutil.rmtree(folder, ignore_errors=True)
        return Examination(row, folder).examine(wanted)
    with tempfile.TemporaryDirectory(prefix=f"compatibility-{row.name}-", ignore_cleanup_errors=True) as scratch:
        return Examination(row, Path(scratch)).examine(wanted)


def print_result(result: RowResult, columns: Sequence[str]) -> None:
    """Prints a row's marks, and what is behind those that are not green."""
    shown = {name: result.cells[name] for name in columns if name in result.cells}
    print(f"{result.name:26s}" + "  ".join(f"{name} {MARKS[cell.state]}" for name, cell in shown.items()), flush=True)
    for name, cell in shown.items():
        if cell.state is State.NO:
            print(f"    {name}: {cell.detail}", flush=True)


def main() -> int:
    """Runs the rows, prints each as it ends, and writes the page; 1 where a cell is not green."""
    options = parse()
    rows = choose(options.rows)
    if options.list:
        print("\n".join(f"{row.name:26s}{row.group:12s}{row.title}" for row in rows))
        return 0
    columns = options.column or [column.name for column in COLUMNS]
    results: list[RowResult] = []
    if not options.page:
        with ThreadPoolExecutor(options.jobs) as pool:
            futures = [pool.submit(measure, row, columns, again=options.again, keep=options.keep) for row in rows]
            for future in as_completed(futures):
                results.append(future.result())
                print_result(results[-1], columns)
    stored = {row.name: result for row in ROWS if (result := read_result(row)) is not None}
    if not options.rows:
        stale = [row.name for row in ROWS if row.name in stored and stored[row.name].stamp != source_stamp(row)]
        page = format_page(ROWS, stored, datetime.datetime.now(datetime.UTC).date(), stale=stale)
        PAGE.write_text(page, encoding="utf-8")
    return int(any(cell.state is State.NO for result in results for cell in result.cells.values()))


if __name__ == "__main__":
    sys.exit(main())
