"""Lets one process of a trial speak for all: it plans at the first step, and reports the trial's progress."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import final

import torch

from unvanish.network.collectives import ForbiddingCollectives
from unvanish.observe import Progress
from unvanish.observe.first_network_call import FirstCall
from unvanish.record.examination import Examination
from unvanish.trials.children.describe_process import describe_process
from unvanish.trials.progress import write_progress
from unvanish.trials.trial import JOB_FILE, PROGRESS_FILE, load_job
from unvanish.trials.watched_trial import first_step_function

CLAIM_FILE = "leader"


@final
class TrialLeader:
    """This process's part in the trial of `folder`. Rank 0 leads; without ranks, the first process that makes a step does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._leads: bool | None = None

    @property
    def leads(self) -> bool:
        """Whether this process leads. Asked at its first step, when it has joined the others."""
        if self._leads is None:
            rank = describe_process().rank
            self._leads = self._claim() if rank is None else rank == 0
        return self._leads

    def _claim(self) -> bool:
        try:
            os.close(os.open(self._folder / CLAIM_FILE, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except OSError:
            return False
        return True

    def examine(self, call: FirstCall) -> Examination | None:
        """What the trial does at its first step, here without the others: nothing may wait for them."""
        if not self.leads:
            return None
        trial = replace(load_job(self._folder / JOB_FILE), folder=self._folder)
        with suppress(Exception), ForbiddingCollectives():
            return first_step_function(trial)(call)
        return None

    def write_progress(self, progress: Progress) -> None:
        """Writes the progress file of the trial."""
        if self.leads:
            path, threads = self._folder / PROGRESS_FILE, torch.get_num_threads()
            write_progress(path, step=progress.step, loss=progress.loss, is_paused=False, threads=threads)
