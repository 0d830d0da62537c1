"""Collects the facts of a run: the script, the machine, its device, and the versions of Python and torch."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

import torch

from unvanish.record.run import Facts


def collect_facts(script: str, arguments: tuple[str, ...] = ()) -> Facts:
    """The facts of a run that are known before its first step."""
    has_gpu = torch.cuda.is_available()
    return Facts(
        script=script,
        arguments=arguments,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=(("python", platform.python_version()), ("torch", torch.__version__)),
        machine=f"{platform.system()} {platform.machine()}",
        device=torch.cuda.get_device_name() if has_gpu else "cpu",
        threads=torch.get_num_threads(),
    )
