"""Says which process of a training this one is: by torch's process group, by the variables of a launcher, by multiprocessing."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from typing import Any

import psutil

from unvanish.record.ranks.process import TrainingProcess
from unvanish.trials.children.launcher_variables import launched_rank


def describe_process(environment: Mapping[str, str] = os.environ) -> TrainingProcess:
    """This process. Its rank is that in torch's process group, or before there is one what the launcher's variables say.

    Example:
        >>> variables = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
        >>> process = describe_process(variables)
        >>> process.label, process.world_size, process.job
        ('rank 1', 2, 'localhost:29500')
    """
    rank, world_size = _process_group() or launched_rank(environment) or (None, 1)
    current: Any = getattr(sys.modules.get("multiprocessing.process"), "current_process", None)
    numbers = current()._identity if current is not None else ()
    return TrainingProcess(
        os.getpid(),
        platform.node(),
        _job(environment),
        psutil.Process().create_time(),
        rank,
        world_size,
        numbers[-1] if numbers else 0,
    )


def _process_group() -> tuple[int, int] | None:
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.get_rank(), distributed.get_world_size()


def _job(environment: Mapping[str, str]) -> str:
    """Where the processes of one training meet; where they do not, the process that started them."""
    if "MASTER_ADDR" in environment and "MASTER_PORT" in environment:
        return f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
    return f"{platform.node()}:{os.getppid()}"
