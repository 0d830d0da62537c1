"""Keeps experiment trackers and model hubs still while a trial runs: nothing reaches an account, a server or a store of the user's.

Variables of the process tell those that listen to them; the functions by which a script asks for an account all the same are
wrapped once the script has imported them."""

from __future__ import annotations

import functools
import getpass
import inspect
import re
import tempfile
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unvanish.import_hooks import when_imported
from unvanish.monkey_patch import patch_in_package

_ADDRESSES = frozenset({"TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_WEBHOOK_URL", "TRACKIO_BUCKET_ID"})
_REMOTE = re.compile(r"^(https?|databricks|uc|aim|ssh|s3|gs|azure|wasbs?|mysql|postgres|mssql)")


@dataclass(frozen=True, slots=True)
class MutedCall:
    """A function that would reach an account or a store.

    Arguments:
        module: the module that holds it.
        name: "function", "Class" or "Class.method" there.
        forced: arguments by name that are set whatever the script gives; a string may contain {folder}, the trial's own.
        forced_if_remote: those that are set only where the script gives the address of a server.
        answer: with it, the function is not called, and this is called with the same arguments for its result.
    """

    module: str
    name: str
    forced: Mapping[str, Any] = field(default_factory=dict[str, Any])
    forced_if_remote: Mapping[str, str] = field(default_factory=dict[str, str])
    answer: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class UploadedNothing:
    """What a hub answers to an upload that was not made: an address, and no commit."""

    repo_id: str = ""
    repo_url: str = ""
    commit_url: str = ""
    oid: str = ""
    commit_message: str = ""
    commit_description: str = ""
    pr_url: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


def _no_upload(*args: Any, run_as_future: bool = False, **options: Any) -> Any:
    """What `UploadedNothing` says, at once or, where the script asks for that, as the result of a thread's work."""
    repo = options.get("repo_id", next((each for each in args if isinstance(each, str)), ""))
    answer = UploadedNothing(repo_id=repo, repo_url=f"https://huggingface.co/{repo}")
    if not run_as_future:
        return answer
    future: Future[UploadedNothing] = Future()
    future.set_result(answer)
    return future


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _yes(*_: Any, **__: Any) -> bool:
    return True


_LOCAL_MLFLOW = "sqlite:///{folder}/mlflow.db"
_HUB_UPLOADS = ("create_repo", "create_commit", "upload_file", "upload_folder", "upload_large_folder", "delete_repo", "create_tag")
MUTED_CALLS = (
    MutedCall("wandb", "init", {"mode": "disabled"}),
    MutedCall("wandb", "login", answer=_yes),
    MutedCall("trackio", "init", dict.fromkeys(("space_id", "server_url", "dataset_id", "bucket_id", "webhook_url"))),
    MutedCall("comet_ml", "Experiment", {"disabled": True}),
    MutedCall("comet_ml", "ExistingExperiment", {"disabled": True}),
    MutedCall("comet_ml", "OfflineExperiment", {"disabled": True}),
    MutedCall("comet_ml", "start", {"online": False}),
    MutedCall("comet_ml", "login", answer=_nothing),
    MutedCall("comet_ml", "init", answer=_nothing),
    MutedCall("mlflow", "set_tracking_uri", forced_if_remote={"uri": _LOCAL_MLFLOW}),
    MutedCall("mlflow", "set_registry_uri", forced_if_remote={"uri": _LOCAL_MLFLOW}),
    MutedCall("mlflow.tracking.client", "MlflowClient.__init__", forced_if_remote={"tracking_uri": _LOCAL_MLFLOW}),
    MutedCall("aim.sdk.run", "BasicRun.__init__", {"repo": "{folder}/aim"}),
    MutedCall("neptune", "init_run", {"mode": "debug"}),
    *(MutedCall("huggingface_hub.hf_api", f"HfApi.{name}", answer=_no_upload) for name in _HUB_UPLOADS),
    *(MutedCall("huggingface_hub.hf_api", name, answer=_no_upload) for name in _HUB_UPLOADS),
)


def muting_variables(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep trackers still, or in a folder of the trial's, whatever `environment` says."""
    variables = {
        **dict.fromkeys(("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"), str(folder)),
        **{"WANDB_MODE": "disabled", "SWANLAB_MODE": "disabled", "NEPTUNE_MODE": "debug"},
        "TRACKIO_DIR": f"{folder}/trackio",
        **{"COMET_OFFLINE_DIRECTORY": f"{folder}/comet", "COMET_AUTO_LOG_DISABLE": "1", "COMET_START_ONLINE": "0"},
        **{"CLEARML_OFFLINE_MODE": "1", "CLEARML_CACHE_DIR": f"{folder}/clearml", "CLEARML_CONFIG_FILE": f"{folder}/clearml.conf"},
        **{"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "AIM_DISABLE_TELEMETRY": "1"},
        "HF_HUB_DISABLE_XET": "1",  # downloads in Rust, which would go past the mirror
    }
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        if _REMOTE.match(environment.get(name, "")):
            variables[name] = _LOCAL_MLFLOW.format(folder=folder)
    return variables


def trial_variables(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for a trial's process, which with it writes temporary files into `folder`, and no bytecode at all.

    What torch compiles stays where torch puts it, among the temporary files: without that each trial would compile anew.
    """
    user = re.sub(r'[\\/:*?"<>|]', "_", _user_name())
    compiled = Path(environment.get("TORCHINDUCTOR_CACHE_DIR") or Path(tempfile.gettempdir()) / f"torchinductor_{user}")
    with suppress(OSError):
        compiled.mkdir(parents=True, exist_ok=True)
    own = {"TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "TORCHINDUCTOR_CACHE_DIR": str(compiled)}
    kept = {name: value for name, value in environment.items() if name not in _ADDRESSES}
    return {**kept, **own, **muting_variables(folder, environment)}


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        return "user"


@contextmanager
def muting_services(folder: Path) -> Generator[None]:
    """A context in which no call of `MUTED_CALLS` reaches an account or a store; `folder` takes what they want to keep."""
    with ExitStack() as installed:
        for call in MUTED_CALLS:
            wrap = functools.partial(_wrap, installed, call, folder)
            installed.callback(when_imported(call.module, wrap))
        yield


def _wrap(installed: ExitStack, call: MutedCall, folder: Path) -> None:
    """Wraps the function in every module of its package that holds it; without one of that name nothing is done."""

    def call_muted(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return _call_muted(call, folder, function, args, options)

    patch = patch_in_package(call.module, call.name, call_muted)
    if patch is not None:
        with suppress(TypeError):  # a class of another kind under that name, which cannot be wrapped
            installed.enter_context(patch)


def _call_muted(call: MutedCall, folder: Path, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if call.answer is not None:
        return call.answer(*args, **options)
    try:
        bound = inspect.signature(function).bind_partial(*args, **options)
    except (TypeError, ValueError):  # what it cannot take it refuses itself
        return function(*args, **options)
    parameters, more = bound.signature.parameters, dict[str, Any]()
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    for name, value in call.forced.items():
        text = value.format(folder=folder) if isinstance(value, str) else value
        if name in parameters:
            bound.arguments[name] = text
        elif takes_any:
            more[name] = text
    for name, value in call.forced_if_remote.items():
        if _REMOTE.match(str(bound.arguments.get(name, ""))):
            bound.arguments[name] = value.format(folder=folder)
    return function(*bound.args, **{**bound.kwargs, **more})
