"""Opens the Ray engine on a cluster that is running already: finds its address, connects to it, and leaves it as it was."""

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
from unvanish.trials.machine_resources import usable_cores

ADDRESS_VARIABLE = "RAY_ADDRESS"
CLIENT_SCHEME, CLIENT_PORT = "ray://", 10001
CONNECT_TIMEOUT_S = 5.0  # Ray itself tries for minutes
ADVICE = "start one with: ray start --head; or name it: --address HOST:PORT (or auto, or ray://HOST:PORT)"


def open_ray_engine(options: EngineOptions) -> Engine:
    """The engine on the cluster at `options.address`, by default on the one that Ray finds: RAY_ADDRESS, this machine.

    Raises UsageError where Ray is not installed or no cluster answers.
    """
    try:
        import ray
    except ImportError as fault:
        raise UsageError(f"--engine ray needs Ray ({fault}): pip install 'unvanish[ray]'") from fault
    from unvanish.trials.engines.ray_actor import ScriptEnvironment
    from unvanish.trials.engines.ray_engine import RayEngine

    disconnect = _connect(ray, options.address or "auto")
    try:
        environment = ScriptEnvironment(Path.cwd(), dict(os.environ), usable_cores(), default_torch_threads())
        return RayEngine(options, environment, disconnect=disconnect)
    except BaseException:
        disconnect()
        raise


def default_torch_threads() -> int:
    """How many threads torch uses by default in a process that is started here."""
    setting = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if setting.isdigit() and "MKL_NUM_THREADS" not in os.environ:
        return int(setting)
    command = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(answer.stdout) if answer.returncode == 0 else usable_cores()


def _connect(ray: Any, address: str) -> Callable[[], None]:
    """A function that disconnects from the cluster to which this process is connected now.

    A connection that existed before is used and kept.
    """
    if ray.is_initialized():
        if address != "auto":
            raise UsageError(
                f"--address {address}: this process is connected to a Ray cluster; give no address, or ray.shutdown() first"
            )
        return lambda: None
    _check_address(address)
    sigterm_handler = signal.getsignal(signal.SIGTERM)
    restore_node_logs = _silence_node_logs()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as fault:
        restore_node_logs()
        raise UsageError(f"--engine ray: no Ray cluster to be had ({' '.join(str(fault).split())}); {ADVICE}") from fault

    def disconnect() -> None:
        ray.shutdown()
        restore_node_logs()
        if threading.current_thread() is threading.main_thread():  # where Ray sets a handler of its own
            signal.signal(signal.SIGTERM, sigterm_handler)

    return disconnect


def _check_address(address: str) -> None:
    """Raises UsageError for an address that would start a cluster, or where nothing listens, which Ray would try for minutes."""
    resolved = address if address != "auto" else os.environ.get(ADDRESS_VARIABLE) or _last_started_here() or ""
    if resolved == "local":
        raise UsageError(f"--engine ray: the address local would start a cluster, which unvanish does not; {ADVICE}")
    host, _, port = resolved.removeprefix(CLIENT_SCHEME).partition("/")[0].rpartition(":")
    if resolved.startswith(CLIENT_SCHEME) and not host:
        host, port = port, str(CLIENT_PORT)
    if not host or not port.isdigit():
        return  # Ray looks for it, or says what is wrong with it
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    except OSError as fault:
        raise UsageError(f"--engine ray: no Ray cluster answers at {resolved} ({fault}); {ADVICE}") from fault


def _last_started_here() -> str | None:
    """The address of the cluster that was last started on this machine, as Ray notes it."""
    base = os.environ.get("RAY_TMPDIR") or ("/tmp" if sys.platform != "win32" else tempfile.gettempdir())
    address_file = Path(base) / "ray" / "ray_current_cluster"
    return address_file.read_text(encoding="utf-8").strip() if address_file.is_file() else None


def _silence_node_logs() -> Callable[[], None]:
    """A function that lets Ray print the logs of its nodes again; it prints them on standard output, where our documents go.

    Ray has no public setting for it; where this private one is gone, there is only more output.
    """
    worker = import_module("ray._private.worker")
    were_enabled = vars(worker).get("_worker_logs_enabled", True)
    setattr(worker, "_worker_logs_enabled", False)  # noqa: B010  (private to another package, which pyright minds)
    return lambda: setattr(worker, "_worker_logs_enabled", were_enabled)
