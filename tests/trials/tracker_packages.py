"""Small packages in the shapes of the real experiment trackers: their modules, re-exports and arguments, and what they pass on to
other trackers. Each keeps in `sent` what it got."""

from __future__ import annotations

from pathlib import Path

WANDB = {
    "wandb/__init__.py": """
from wandb.sdk import wandb_init
from wandb.sdk.lib import preinit as _preinit
from wandb.sdk.wandb_run import Run, sent
init = wandb_init.init
run = None
log = _preinit.PreInitCallable("wandb.log", Run.log)
class Histogram:
    pass
""",
    "wandb/sdk/__init__.py": "",
    "wandb/sdk/lib/__init__.py": "",
    "wandb/sdk/lib/preinit.py": """
def PreInitCallable(name, destination=None):
    def preinit_wrapper(*args, **kwargs):
        raise RuntimeError(f"You must call wandb.init() before {name}()")
    preinit_wrapper.__wrapped__ = destination
    return preinit_wrapper
""",
    "wandb/sdk/lib/noop_run.py": """
from wandb.sdk import wandb_run
class NoopRun(wandb_run.Run):
    def log(self, data, *args, **kwargs):
        self.summary.update(data)
""",
    "wandb/sdk/wandb_run.py": """
import functools
sent = []
def _attach(func):
    @functools.wraps(func)
    def wrapper(self, *args, **kwargs):
        return func(self, *args, **kwargs)
    return wrapper
class Run:
    def __init__(self):
        self.summary = {}
    @_attach
    def log(self, data, step=None, commit=None):
        if not isinstance(data, dict):
            raise TypeError("Run.log() only accepts a dictionary as its first argument.")
        sent.append(("wandb", data, step, commit))
""",
    "wandb/sdk/wandb_init.py": """
import wandb
from wandb.sdk.lib import noop_run
from wandb.sdk.wandb_run import Run
def init(project=None, mode=None):
    wandb.run = noop_run.NoopRun() if mode == "disabled" else Run()
    wandb.log = wandb.run.log
    return wandb.run
""",
}
MLFLOW = {
    "mlflow/__init__.py": """
from mlflow.tracking.client import MlflowClient, sent
from mlflow.tracking.fluent import log_metric, log_metrics
""",
    "mlflow/tracking/__init__.py": "from mlflow.tracking.client import MlflowClient\n",
    "mlflow/tracking/client.py": """
sent = []
class MlflowClient:
    def log_metric(self, run_id, key, value, timestamp=None, step=None, synchronous=None):
        sent.append(("mlflow", run_id, key, float(value), step))
        return "operation" if synchronous is False else None
""",
    "mlflow/tracking/fluent.py": """
from mlflow.tracking.client import MlflowClient
def log_metric(key, value, step=None, synchronous=None, timestamp=None, run_id=None):
    return MlflowClient().log_metric(run_id or "active", key, value, timestamp, step, synchronous)
def log_metrics(metrics, step=None, synchronous=None, run_id=None, timestamp=None):
    for key, value in metrics.items():
        MlflowClient().log_metric(run_id or "active", key, value, timestamp, step, synchronous)
""",
}
TRACKIO = {
    "trackio/__init__.py": """
from trackio.run import Run, sent
current_run = None
def init(project):
    global current_run
    current_run = Run()
    return current_run
def log(metrics, step=None):
    if current_run is None:
        raise RuntimeError("Call trackio.init() before trackio.log().")
    current_run.log(metrics=metrics, step=step)
""",
    "trackio/run.py": """
sent = []
class Run:
    def log(self, metrics, step=None):
        sent.append(("trackio", dict(metrics), step))
""",
}
TRANSFORMERS = {
    "transformers/__init__.py": """
import importlib, sys
from types import ModuleType
class _LazyModule(ModuleType):
    def __getattr__(self, name):
        if name != "Trainer":
            raise AttributeError(name)
        return importlib.import_module(".trainer", self.__name__).Trainer
_lazy = _LazyModule(__name__)
_lazy.__path__, _lazy.__spec__, _lazy.__file__ = __path__, __spec__, __file__
sys.modules[__name__] = _lazy
""",
    "transformers/trainer.py": """
sent = []
class Trainer:
    def __init__(self, callbacks=()):
        self.callbacks, self.epoch = callbacks, 0.5
    def log(self, logs, start_time=None):
        logs["epoch"] = self.epoch
        sent.append(("transformers", dict(logs), start_time))
        for callback in self.callbacks:
            callback(logs)
""",
}
LIGHTNING = {
    "lightning/__init__.py": "from lightning.pytorch import LightningModule, Trainer\nfrom lightning.fabric.fabric import Fabric\n",
    "lightning/fabric/__init__.py": "",
    "lightning/fabric/fabric.py": """
class Fabric:
    def __init__(self, loggers=()):
        self.loggers = loggers
    def log(self, name, value, step=None):
        self.log_dict(metrics={name: value}, step=step)
    def log_dict(self, metrics, step=None):
        for logger in self.loggers:
            logger.log_metrics(metrics=dict(metrics), step=step)
""",
    "lightning/fabric/loggers/__init__.py": "from lightning.fabric.loggers.csv_logs import CSVLogger\n",
    "lightning/fabric/loggers/csv_logs.py": """
sent = []
class CSVLogger:
    def log_metrics(self, metrics, step=None):
        sent.append(("csv", {name: float(value) for name, value in metrics.items()}, step))
""",
    "lightning/pytorch/__init__.py": """
from lightning.pytorch.core.module import LightningModule
from lightning.pytorch.trainer.trainer import Trainer
""",
    "lightning/pytorch/core/__init__.py": "",
    "lightning/pytorch/core/module.py": """
class LightningModule:
    _trainer = _fabric = None
    @property
    def trainer(self):
        if self._trainer is None:
            raise RuntimeError("LightningModule is not attached to a `Trainer`.")
        return self._trainer
    def log(self, name, value, prog_bar=False, logger=None, on_step=None, on_epoch=None, reduce_fx="mean", batch_size=None):
        if self._fabric is not None:
            return self._fabric.log_dict(metrics={name: value})
        self._trainer._results.log(name, value, logger is not False, reduce_fx, batch_size)
    def log_dict(self, dictionary, prog_bar=False, logger=None, on_step=None, on_epoch=None, reduce_fx="mean", batch_size=None):
        for name, value in dictionary.items():
            self.log(name=name, value=value, logger=logger, reduce_fx=reduce_fx, batch_size=batch_size)
""",
    "lightning/pytorch/loggers/__init__.py": "from lightning.fabric.loggers.csv_logs import CSVLogger\n",
    "lightning/pytorch/loggers/wandb.py": """
class WandbLogger:
    def __init__(self, run):
        self.experiment = run
    def log_metrics(self, metrics, step=None):
        self.experiment.log({"prefix-" + name: value for name, value in metrics.items()})
""",
    "lightning/pytorch/trainer/__init__.py": "",
    "lightning/pytorch/trainer/connectors/__init__.py": "",
    "lightning/pytorch/trainer/connectors/logger_connector/__init__.py": "",
    "lightning/pytorch/trainer/connectors/logger_connector/logger_connector.py": """
class _LoggerConnector:
    def __init__(self, trainer):
        self.trainer = trainer
    def log_metrics(self, metrics, step=None):
        if not self.trainer.loggers or not metrics:
            return
        scalars = {name: float(value) for name, value in metrics.items()}
        for logger in self.trainer.loggers:
            logger.log_metrics(metrics=scalars, step=step)
""",
    "lightning/pytorch/trainer/trainer.py": """
from types import SimpleNamespace
from lightning.pytorch.trainer.connectors.logger_connector.logger_connector import _LoggerConnector
class _Results:
    def __init__(self):
        self.batch_size, self.sums = None, {}
    def log(self, name, value, logger, reduce_fx, batch_size):
        size = batch_size or self.batch_size
        total, weight, _ = self.sums.get(name, (0.0, 0, logger))
        self.sums[name] = total + value * size, weight + size, logger
class Trainer:
    def __init__(self, loggers=()):
        self.loggers, self.state, self.global_step = loggers, SimpleNamespace(stage=None), 0
        self._logger_connector, self._results = _LoggerConnector(self), _Results()
    @property
    def evaluating(self):
        return self.state.stage in ("validate", "test", "sanity_check")
    @property
    def sanity_checking(self):
        return self.state.stage == "sanity_check"
    def _run(self, stage, step, batches):
        self.state.stage, self._results = stage, _Results()
        for index, batch in enumerate(batches):
            self._results.batch_size = len(batch)
            step(batch, index)
        means = {name: total / weight for name, (total, weight, logger) in self._results.sums.items() if logger}
        if stage != "sanity_check":
            self._logger_connector.log_metrics(means, step=self.global_step)
    def fit(self, module, batches, epochs=1):
        module._trainer = self
        self._run("sanity_check", module.validation_step, batches[:1])
        for _ in range(epochs):
            self._run("train", module.training_step, batches)
            self.global_step += len(batches)
            self._run("validate", module.validation_step, batches)
""",
}
# What torch's own writer imports of TensorBoard: messages that keep their fields, and a writer that keeps its events.
_MESSAGES = """
class Message:
    step = 0
    def __init__(self, **fields):
        self.__dict__.update(fields)
        self.fields = fields
"""
_PROTO = {
    "compat/proto/event_pb2": "Event SessionLog",
    "compat/proto/config_pb2": "RunMetadata",
    "compat/proto/graph_pb2": "GraphDef",
    "compat/proto/step_stats_pb2": "StepStats DeviceStepStats",
    "compat/proto/versions_pb2": "VersionDef",
    "compat/proto/node_def_pb2": "NodeDef",
    "compat/proto/attr_value_pb2": "AttrValue",
    "compat/proto/tensor_shape_pb2": "TensorShapeProto",
    "compat/proto/tensor_pb2": "TensorProto",
    "compat/proto/summary_pb2": "HistogramProto Summary SummaryMetadata",
    "plugins/projector/projector_config_pb2": "ProjectorConfig EmbeddingInfo",
    "plugins/custom_scalar/layout_pb2": "Layout",
    "plugins/pr_curve/plugin_data_pb2": "PrCurvePluginData",
    "plugins/text/plugin_data_pb2": "TextPluginData",
}
TENSORBOARD = {
    "tensorboard/__init__.py": "__version__ = '2.20.0'\n",
    "tensorboard/message.py": _MESSAGES,
    "tensorboard/plugins/__init__.py": "",
    **{f"tensorboard/{file.rpartition('/')[0]}/__init__.py": "" for file in _PROTO},
    "tensorboard/compat/__init__.py": "class tf:\n    class io:\n        class gfile:\n            join = '/'.join\n",
    **{
        f"tensorboard/{file}.py": "from tensorboard.message import Message\n"
        + "".join(f"class {name}(Message):\n    class Value(Message):\n        pass\n" for name in names.split())
        for file, names in _PROTO.items()
    },
    "tensorboard/summary/__init__.py": "",
    "tensorboard/summary/writer/__init__.py": "",
    "tensorboard/summary/writer/record_writer.py": "class RecordWriter:\n    pass\n",
    "tensorboard/summary/writer/event_file_writer.py": """
sent = []
class EventFileWriter:
    def __init__(self, logdir, *args):
        self.logdir = logdir
    def get_logdir(self):
        return self.logdir
    def add_event(self, event):
        if "summary" in event.fields:
            value = event.summary.value[0]
            sent.append(("tensorboard", self.logdir.rpartition("/")[2], value.tag, float(value.simple_value), event.step))
    def flush(self):
        pass
    close = flush
""",
}
TENSORBOARDX = {
    "tensorboardX/__init__.py": "from .writer import SummaryWriter\n",
    "tensorboardX/writer.py": """
sent = []
class SummaryWriter:
    def add_scalar(self, tag, scalar_value, global_step=None, walltime=None, display_name="", summary_description=""):
        sent.append(("tensorboardX", tag, float(scalar_value), global_step))
    def add_scalars(self, main_tag, tag_scalar_dict, global_step=None, walltime=None):
        sent.append(("tensorboardX", main_tag, dict(tag_scalar_dict), global_step))
""",
}


def _as_two_packages(files: dict[str, str]) -> dict[str, str]:
    """Lightning as it is called where it comes as `pytorch_lightning` and `lightning_fabric`."""

    def renamed(text: str) -> str:
        for dot in "./":
            text = text.replace(f"lightning{dot}pytorch", "pytorch_lightning").replace(f"lightning{dot}fabric", "lightning_fabric")
        return text

    return {renamed(path): renamed(text) for path, text in files.items() if path != "lightning/__init__.py"}


ALL = (WANDB, MLFLOW, TRACKIO, TRANSFORMERS, LIGHTNING, _as_two_packages(LIGHTNING), TENSORBOARD, TENSORBOARDX)
NAMES = (
    "wandb",
    "mlflow",
    "trackio",
    "transformers",
    "lightning",
    "pytorch_lightning",
    "lightning_fabric",
    "tensorboard",
    "tensorboardX",
)


def write(folder: Path) -> None:
    """Writes all packages into a folder."""
    for files in ALL:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
