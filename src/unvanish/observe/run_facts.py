"""Where a run happens: the machine, its device, and the versions at work. It measures nothing."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

import torch

from unvanish.record.run import Facts


def facts_of(script: str, arguments: tuple[str, ...] = ()) -> Facts:
    """What is known of a run before its first step."""
    gpu = torch.cuda.is_available()
    return Facts(
        script=script,
        arguments=arguments,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=(("python", platform.python_version()), ("torch", torch.__version__)),
        machine=f"{platform.system()} {platform.machine()}",
        device=torch.cuda.get_device_name() if gpu else "cpu",
        threads=torch.get_num_threads(),
    )
