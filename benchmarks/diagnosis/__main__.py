"""`python -m benchmarks.diagnosis [FOLDER ...]`: precision, recall and F1 of the diagnosis per code, source, family and variation;
how reliable its confidences are; and the verdict after 50 steps."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.diagnosis.calibration import cross_validate
from benchmarks.diagnosis.corpus import default_folders, load_cases, record_cases
from benchmarks.diagnosis.scoring import (
    format_agreement,
    format_by_code,
    format_calibration,
    format_misses,
    format_overall,
    score_case,
)
from benchmarks.diagnosis.variations import make_variations

SHORT_STEPS = 50


def report(folders: list[Path], *, store: Path, each: int, jobs: int, short: bool, cross: bool) -> str:
    """All tables as text. `each` is the number of variations of a case, besides another seed; -1 for none at all."""
    originals = load_cases(folders)
    if not originals:
        return "no labelled cases: name a folder that holds cases.json"
    varied = make_variations(originals, each=each, jobs=jobs) if each >= 0 else []
    cases = [*originals, *varied]
    runs = record_cases(cases, store / "whole", jobs=jobs)
    answers = [score_case(case, runs[case.name]) for case in cases]
    parts = [
        format_overall(answers),
        format_by_code(answers),
        "Confidence\n" + format_calibration(answers),
        "Not as the labels say\n" + format_misses(answers),
    ]
    if short:
        short_runs = record_cases(originals, store / "short", jobs=jobs, max_steps=SHORT_STEPS)
        parts.append(
            format_agreement(
                {a.case.name: a for a in answers[: len(originals)]},
                {case.name: score_case(case, short_runs[case.name]) for case in originals},
            )
        )
    if cross:
        parts.append(cross_validate(cases, runs))
    return "\n\n".join(parts)


def main() -> None:
    """Records the runs, diagnoses them and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="folders with cases.json; by default those beside the repository")
    parser.add_argument("--variations", type=int, default=-1, help="variations of each case besides another seed; -1: none")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--store", type=Path, help="where records are kept, to judge them again without watching again")
    parser.add_argument("--short", action="store_true", help=f"the verdict after {SHORT_STEPS} steps too")
    parser.add_argument("--cross", action="store_true", help="calibrated thresholds, set with one family left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = options.store or Path(scratch)
        folders = options.folders or default_folders()
        print(report(folders, store=store, each=options.variations, jobs=options.jobs, short=options.short, cross=options.cross))


if __name__ == "__main__":
    main()
