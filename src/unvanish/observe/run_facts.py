"""Collects the facts of a run: the script, the machine, its device, and the versions of Python and torch."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

import torch

from unvanish.record.run import Facts


def collect_facts(script: str, arguments: tuple[str, ...] = ()) -> Facts:
    """The facts of a run that are known before its first step."""
    return Facts(
        script=script,
        arguments=arguments,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=(("python", platform.python_version()), ("torch", torch.__version__)),
        machine=f"{platform.system()} {platform.machine()}",
        device=used_device(),
        threads=torch.get_num_threads(),
    )


def used_device() -> str:
    """The accelerator that the program has used so far, or "cpu".

    Asking torch whether there is one would start its driver: from then on the program could neither choose among several, nor use
    one in a process that it forks.
    """
    return torch.cuda.get_device_name() if torch.cuda.is_initialized() else "cpu"
