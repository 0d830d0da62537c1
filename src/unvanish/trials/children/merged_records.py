"""Merges the records of a run's processes once its script has ended, and stores the result as the run's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from unvanish.record.run import Run
from unvanish.record.storage.file_names import RANKS_FOLDER, RUN_FILE
from unvanish.record.storage.journal import load
from unvanish.record.storage.run_folder import merge_folder, rank_files, store_run
from unvanish.record.storage.serialisation import from_plain, to_plain
from unvanish.record.structure import ModelStructure
from unvanish.trials.children.waiting import wait_for_records


def merge_records(folder: Path, *, complete: Callable[[Run], Run], restore_paths: Callable[[str], str] | None = None) -> Run | None:
    """The record of all processes of the run in a folder, where others than its own trained; None where none did.

    The record of the run's own process goes to those of the others, where it made a step.

    Arguments:
        complete: adds to the merged record what is computed from it.
        restore_paths: gives a text with the user's own paths, where the processes ran in a mirror.
    """
    if not rank_files(folder):
        return None
    wait_for_records(folder)
    merged = merge_folder(folder)
    if merged is None:
        return None
    if restore_paths is not None:
        plain = restore_paths(json.dumps(to_plain(merged.structure)))
        merged = replace(merged, structure=from_plain(ModelStructure, json.loads(plain)))
    merged, own = complete(merged), folder / RUN_FILE
    if own.is_file():
        if load(own).step_count:
            own.rename(folder / RANKS_FOLDER / RUN_FILE)
        else:
            own.unlink()
    store_run(own, merged)
    return merged
