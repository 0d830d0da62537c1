"""Trackers and hubs get nothing from a trial, whatever the script or the environment asks for, and the script goes on."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from unvanish.trials.isolation.muted_services import muting_services, trial_variables

PACKAGES = {
    "wandb/__init__.py": "from wandb.sdk import init\ndef login(key=None): open('/netrc-of-the-user', 'w')",
    "wandb/sdk/__init__.py": "def init(project=None, mode=None, **settings): return project, mode, settings",
    "trackio.py": "def init(project, name=None, space_id=None, server_url=None): return project, name, space_id, server_url",
    "comet_ml.py": """
        class Experiment:
            def __init__(self, api_key=None, disabled=False): self.given = api_key, disabled
        def start(api_key=None, online=None): return online
        def login(): raise EOFError('asks for a key')
        """,
    "mlflow/__init__.py": "from mlflow.tracking import set_tracking_uri",
    "mlflow/tracking/__init__.py": "def set_tracking_uri(uri): return uri",
    "mlflow/tracking/client.py": """
        class MlflowClient:
            def __init__(self, tracking_uri=None): self.uri = tracking_uri
        """,
    "neptune.py": "def init_run(project=None, **settings): return settings",
    "aim/__init__.py": "",
    "aim/sdk/__init__.py": "",
    "aim/sdk/run.py": """
        class BasicRun:
            def __init__(self, run_hash=None, *, repo=None): self.place = repo
        class Run(BasicRun): pass
        """,
    "huggingface_hub/__init__.py": "from huggingface_hub.hf_api import HfApi, create_repo",
    "huggingface_hub/hf_api.py": """
        class HfApi:
            def create_repo(self, repo_id, *, private=None): raise ConnectionError('the hub was asked')
            def upload_folder(self, *, repo_id, folder_path): raise ConnectionError('the hub was asked')
            def model_info(self, repo_id): return repo_id
        api = HfApi()
        create_repo = api.create_repo
        """,
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in PACKAGES.items():
        (tmp_path / "packages" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "packages" / name).write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    names = {name.partition("/")[0].removesuffix(".py") for name in PACKAGES}
    for module in [key for key in sys.modules if key.partition(".")[0] in names]:
        monkeypatch.delitem(sys.modules, module)
    yield
    for module in [key for key in sys.modules if key.partition(".")[0] in names]:
        del sys.modules[module]


@pytest.mark.usefixtures("packages")
def test_a_script_that_asks_for_its_account_reaches_none_and_goes_on() -> None:
    folder = Path("/of/the/trial")
    with muting_services(folder):
        import aim.sdk.run
        import comet_ml
        import huggingface_hub
        import mlflow
        import mlflow.tracking.client
        import neptune
        import trackio
        import wandb
        import wandb.sdk

        assert wandb.init("p", "online", entity="e") == ("p", "disabled", {"entity": "e"})
        assert wandb.sdk.init(project="p") == ("p", "disabled", {})
        assert wandb.login(key="secret")
        assert trackio.init("p", "n", "me/space", "http://server") == ("p", "n", None, None)
        assert comet_ml.Experiment("key").given == ("key", True)
        assert comet_ml.start("key", online=True) is False
        assert comet_ml.login() is None
        assert neptune.init_run("p", mode="async") == {"mode": "debug"}
        assert aim.sdk.run.Run(repo="/home/u/.aim").place == "/of/the/trial/aim"
        assert mlflow.set_tracking_uri("http://server:5000") == "sqlite:////of/the/trial/mlflow.db"
        assert mlflow.set_tracking_uri("sqlite:///runs.db") == "sqlite:///runs.db"
        assert mlflow.tracking.client.MlflowClient("databricks").uri == "sqlite:////of/the/trial/mlflow.db"
        assert mlflow.tracking.client.MlflowClient().uri is None
        assert huggingface_hub.HfApi().create_repo("me/net").repo_id == "me/net"
        assert huggingface_hub.HfApi().upload_folder(repo_id="me/net", folder_path=".").repo_id == "me/net"
        assert huggingface_hub.create_repo("me/net").repo_id == "me/net"
        future = huggingface_hub.HfApi().upload_folder(repo_id="me/net", folder_path=".", run_as_future=True)
        assert future.result().repo_id == "me/net"
        assert huggingface_hub.HfApi().model_info("me/net") == "me/net"
        with pytest.raises(TypeError, match="nonsense"):
            trackio.init(nonsense=1)
    assert wandb.init("p", "online") == ("p", "online", {})
    assert comet_ml.Experiment("key").given == ("key", False)


def test_the_environment_sends_nothing_to_a_server_and_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"MLFLOW_TRACKING_URI": "https://server", "TRACKIO_SPACE_ID": "me/space", "WANDB_MODE": "online", "HOME": "/home/u"}
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    variables = trial_variables(tmp_path / "trial", {**given, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled")})
    assert variables["MLFLOW_TRACKING_URI"].startswith("sqlite:")
    assert "TRACKIO_SPACE_ID" not in variables
    assert (variables["WANDB_MODE"], variables["HOME"]) == ("disabled", "/home/u")
    assert variables["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")
    local = trial_variables(tmp_path / "trial", {"MLFLOW_TRACKING_URI": "sqlite:///runs.db"})
    assert local["MLFLOW_TRACKING_URI"] == "sqlite:///runs.db"
    code = "import tempfile, sys; print(tempfile.gettempdir(), sys.dont_write_bytecode)"
    (tmp_path / "trial").mkdir()
    said = subprocess.run([sys.executable, "-c", code], env=local, capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(tmp_path / "trial"), "True"]
