"""Engages the Ray engine: finds a cluster that is there, connects to it, and leaves it as it was. It never starts one."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from unvanish.errors import UsageError
from unvanish.trials.engines.engine import Engine, EngineOptions
from unvanish.trials.engines.local import cores

ADDRESS = "RAY_ADDRESS"  # the variable in which users of Ray keep it
CLIENT, CLIENT_PORT = "ray://", 10001
ANSWER_S = 5.0  # Ray itself tries for minutes
HOW = "start one with: ray start --head; or name it: --address HOST:PORT (or auto, or ray://HOST:PORT)"


def engage(terms: EngineOptions) -> Engine:
    """The engine on the cluster at the address of the terms, or else on the one that Ray finds: RAY_ADDRESS, this machine.

    Raises UsageError where Ray is not installed or no cluster answers.
    """
    try:
        import ray
    except ImportError as fault:
        raise UsageError(f"--engine ray needs Ray ({fault}): pip install 'unvanish[ray]'") from fault
    from unvanish.trials.engines.ray_actor import Surroundings
    from unvanish.trials.engines.ray_engine import RayEngine

    leave = _joined(ray, terms.address or "auto")
    try:
        surroundings = Surroundings(Path.cwd(), dict(os.environ), cores(), threads_alone())
        return RayEngine(terms, surroundings, leave=leave)
    except BaseException:
        leave()
        raise


def threads_alone() -> int:
    """How many threads torch takes by itself in a process that is started here."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if said.isdigit() and "MKL_NUM_THREADS" not in os.environ:
        return int(said)
    command = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(asked.stdout) if asked.returncode == 0 else cores()


def _joined(ray: Any, address: str) -> Callable[[], None]:
    """How to leave the cluster that this process belongs to now. A connection that was there before is used, and stays."""
    if ray.is_initialized():
        if address != "auto":
            raise UsageError(
                f"--address {address}: this process is connected to a Ray cluster; give no address, or ray.shutdown() first"
            )
        return lambda: None
    _require_answer(address)
    before = signal.getsignal(signal.SIGTERM)
    quiet = _quietened()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as fault:
        quiet()
        raise UsageError(f"--engine ray: no Ray cluster to be had ({' '.join(str(fault).split())}); {HOW}") from fault

    def leave() -> None:
        ray.shutdown()
        quiet()
        if threading.current_thread() is threading.main_thread():  # where Ray sets a handler of its own
            signal.signal(signal.SIGTERM, before)

    return leave


def _require_answer(address: str) -> None:
    """Refuses an address where nobody listens, which Ray itself would try for minutes, or that would start a cluster."""
    given = address if address != "auto" else os.environ.get(ADDRESS) or _started_here() or ""
    if given == "local":
        raise UsageError(f"--engine ray: the address local would start a cluster, which unvanish does not; {HOW}")
    host, _, port = given.removeprefix(CLIENT).partition("/")[0].rpartition(":")
    if given.startswith(CLIENT) and not host:
        host, port = port, str(CLIENT_PORT)
    if not host or not port.isdigit():
        return  # Ray looks for it, or says what is wrong with it
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except OSError as fault:
        raise UsageError(f"--engine ray: no Ray cluster answers at {given} ({fault}); {HOW}") from fault


def _started_here() -> str | None:
    """The address of the cluster that was last started on this machine, as Ray notes it."""
    base = os.environ.get("RAY_TMPDIR") or ("/tmp" if sys.platform != "win32" else tempfile.gettempdir())
    note = Path(base) / "ray" / "ray_current_cluster"
    return note.read_text(encoding="utf-8").strip() if note.is_file() else None


def _quietened() -> Callable[[], None]:
    """How to let Ray say again what its nodes complain of, which it prints on standard output, where our documents go.

    There is no public way; without this one it is only louder.
    """
    worker = import_module("ray._private.worker")
    loud = vars(worker).get("_worker_logs_enabled", True)
    setattr(worker, "_worker_logs_enabled", False)  # noqa: B010  (private to another package, which pyright minds)
    return lambda: setattr(worker, "_worker_logs_enabled", loud)
