"""Rows of how a training is started: as a module or a command, and on several processes."""

from __future__ import annotations

from typing import Any

from compatibility.row import Row
from compatibility.rows.digits import deep_sigmoid, digits_row

GROUP = "Launchers"
TORCHRUN = ("torchrun", "--standalone", "--nproc-per-node", "2", "train.py")
ACCELERATE = (
    *("accelerate", "launch", "--cpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "train.py"),
)


def launcher(name: str, title: str, program: str, **fields: Any) -> Row:
    """A row of this group."""
    return digits_row(name, GROUP, title, program, **fields)


def packaged(name: str, title: str, *launch: str) -> Row:
    """A row of the package that the user has made of the classifier."""
    return launcher(
        name,
        title,
        "package",
        shared_into="src/reader",
        launch=launch,
        predict=("-m", "reader.predict"),
        environment=(("PYTHONPATH", "src"),),
        twin=deep_sigmoid("src/reader/model.py"),
    )


LAUNCHERS = (
    packaged("module", "`python -m package.module`", "-m", "reader.train"),
    packaged("console-script", "a command of the user's own package", "train-reader"),
    launcher("torchrun", "DistributedDataParallel on two ranks, by `torchrun`", "ddp", launch=TORCHRUN),
    launcher(
        "distributed-run",
        "the same by `python -m torch.distributed.run`",
        "ddp",
        launch=("-m", "torch.distributed.run", *TORCHRUN[1:]),
    ),
    launcher("accelerate-launch", "`accelerate launch` with two processes", "accelerate", launch=ACCELERATE, needs=("accelerate",)),
    launcher(
        "lightning-ddp",
        "Lightning's ddp strategy with two processes",
        "lightning",
        launch=("train.py", "--devices", "2"),
        twin=deep_sigmoid(depth="depth: int = 3", deeper="depth: int = 10"),
        needs=("lightning",),
    ),
    launcher("spawn", "DistributedDataParallel on two processes of `mp.spawn`", "spawn"),
    launcher("hogwild", "two forked processes that train one network without locks", "hogwild", repeats=False),
)
