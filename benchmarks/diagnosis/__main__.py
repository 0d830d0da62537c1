"""`python -m benchmarks.diagnosis [FOLDER ...]`: precision, recall and F1 per code, source, family and variation; confidence;
50 steps."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.diagnosis.calibration import cross_validated
from benchmarks.diagnosis.corpus import cases, default_folders, records
from benchmarks.diagnosis.scoring import agreement, answer, by_code, calibration, misses, overall
from benchmarks.diagnosis.variations import variations

SHORT = 50


def report(folders: list[Path], *, store: Path, each: int, jobs: int, short: bool, cross: bool) -> str:
    """All tables as text. `each` is the number of variations of a case, besides another seed; -1 for none at all."""
    chosen = cases(folders)
    if not chosen:
        return "no labelled cases: name a folder that holds cases.json"
    varied = variations(chosen, each=each, jobs=jobs) if each >= 0 else []
    everything = [*chosen, *varied]
    runs = records(everything, store / "whole", jobs=jobs)
    answers = [answer(case, runs[case.name]) for case in everything]
    parts = [overall(answers), by_code(answers), "Confidence\n" + calibration(answers), "Not as the labels say\n" + misses(answers)]
    if short:
        cut = records(chosen, store / "short", jobs=jobs, max_steps=SHORT)
        parts.append(
            agreement(
                {a.case.name: a for a in answers[: len(chosen)]}, {case.name: answer(case, cut[case.name]) for case in chosen}
            )
        )
    if cross:
        parts.append(cross_validated(everything, runs))
    return "\n\n".join(parts)


def main() -> None:
    """Watches, judges and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="folders with cases.json; by default those beside the repository")
    parser.add_argument("--variations", type=int, default=-1, help="variations of each case besides another seed; -1: none")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--store", type=Path, help="where records are kept, to judge them again without watching again")
    parser.add_argument("--short", action="store_true", help=f"the verdict after {SHORT} steps too")
    parser.add_argument("--cross", action="store_true", help="calibrated thresholds, set with one family left out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = given.store or Path(scratch)
        chosen = given.folders or default_folders()
        print(report(chosen, store=store, each=given.variations, jobs=given.jobs, short=given.short, cross=given.cross))


if __name__ == "__main__":
    main()
