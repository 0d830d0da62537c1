"""The functions by which scripts log metrics to experiment trackers, and how to read the metrics from the arguments of a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from unvanish.observe.metric_values import needs_synchronisation, to_float


@dataclass(frozen=True, slots=True)
class TrackerCall:
    """A function of a tracker that logs metrics.

    Arguments:
        module: the module that defines it.
        name: "function" or "Class.method" there.
        read_metrics: called with the arguments of a call; gives the metrics by name, as they are, mappings of mappings too. What it
            raises means that the call logs nothing.
        separator: joins the names of nested mappings.
        may_forward: the call may pass its metrics on to other trackers, which then count once.
    """

    module: str
    name: str
    read_metrics: Callable[..., Mapping[str, Any]]
    separator: str = "/"
    may_forward: bool = True

    @property
    def package(self) -> str:
        """The top-level package of the module."""
        return self.module.partition(".")[0]


def tracker_calls() -> tuple[TrackerCall, ...]:
    """All known functions. They are made anew each time, since that of Lightning keeps the batches of an evaluation."""
    return (
        TrackerCall("torch.utils.tensorboard.writer", "SummaryWriter.add_scalar", _pair("tag", "scalar_value")),
        TrackerCall("torch.utils.tensorboard.writer", "SummaryWriter.add_scalars", _pair("main_tag", "tag_scalar_dict")),
        TrackerCall("tensorboardX.writer", "SummaryWriter.add_scalar", _pair("tag", "scalar_value")),
        TrackerCall("tensorboardX.writer", "SummaryWriter.add_scalars", _pair("main_tag", "tag_scalar_dict")),
        TrackerCall("wandb.sdk.wandb_run", "Run.log", _mapping("data"), separator="."),
        TrackerCall("wandb.sdk.lib.noop_run", "NoopRun.log", _mapping("data"), separator="."),
        TrackerCall("mlflow", "log_metric", _pair("key", "value", at=0)),
        TrackerCall("mlflow", "log_metrics", _mapping("metrics", at=0)),
        TrackerCall("mlflow.tracking.client", "MlflowClient.log_metric", _pair("key", "value", at=2)),
        TrackerCall("trackio", "log", _mapping("metrics", at=0)),
        TrackerCall("trackio.run", "Run.log", _mapping("metrics")),
        TrackerCall("comet_ml.experiment", "CometExperiment.log_metric", _pair("name", "value")),
        TrackerCall("comet_ml.experiment", "CometExperiment.log_metrics", _mapping("dic")),
        TrackerCall("aim.sdk.run", "BasicRun.track", _tracked_by_aim),
        TrackerCall("transformers.trainer", "Trainer.log", _mapping("logs")),
        TrackerCall("accelerate.accelerator", "Accelerator.log", _mapping("values")),
        *_lightning("lightning.pytorch", "lightning.fabric"),
        *_lightning("pytorch_lightning", "lightning_fabric"),
    )


def _lightning(root: str, fabric: str) -> tuple[TrackerCall, ...]:
    """The functions of Lightning, which comes as one package and as two.

    Its training loop gives metrics to the logger connector first, also where there is no logger; loggers may be called too.
    """
    loggers = (
        (f"{fabric}.loggers.csv_logs", "CSVLogger"),
        (f"{fabric}.loggers.tensorboard", "TensorBoardLogger"),
        (f"{root}.loggers.wandb", "WandbLogger"),
        (f"{root}.loggers.mlflow", "MLFlowLogger"),
        (f"{root}.loggers.comet", "CometLogger"),
    )
    connector = f"{root}.trainer.connectors.logger_connector.logger_connector"
    return (
        TrackerCall(f"{root}.core.module", "LightningModule.log", EvaluationMeans().read_metrics, may_forward=False),
        TrackerCall(connector, "_LoggerConnector.log_metrics", _connector_metrics),
        TrackerCall(f"{fabric}.fabric", "Fabric.log_dict", _mapping("metrics")),
        *(TrackerCall(module, f"{kind}.log_metrics", _mapping("metrics")) for module, kind in loggers),
    )


class EvaluationMeans:
    """The metrics of `LightningModule.log`: in an evaluation the mean over the batches so far, as Lightning makes it at its end.

    Lightning does not read the values here, so those that need a synchronisation with the device are left to the end, where it
    does.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[int, str], tuple[object, float, float]] = {}

    def read_metrics(
        self, module: Any, name: str, value: Any, *_: Any, reduce_fx: Any = "mean", batch_size: int | None = None, **__: Any
    ) -> Mapping[str, float]:
        """The metric of one call; nothing for the batches of the sanity check before the training."""
        trainer = module.trainer
        number = None if trainer.sanity_checking or needs_synchronisation(value) else to_float(value)
        if number is None or not trainer.evaluating:
            return {} if number is None else {name: number}
        if reduce_fx != "mean":
            return {}
        evaluation, samples = (trainer.state.stage, trainer.global_step), float(batch_size or _batch_size(trainer))
        last, total, weight = self._sums.get((id(module), name), (None, 0.0, 0.0))
        if last != evaluation:
            total = weight = 0.0
        total, weight = total + samples * number, weight + samples
        self._sums[id(module), name] = evaluation, total, weight
        return {name: total / weight}


def _batch_size(trainer: Any) -> int:
    """The number of samples in the batch as Lightning has just extracted it, the weight of the batch in the mean."""
    return getattr(getattr(trainer, "_results", None), "batch_size", None) or 1


def _mapping(name: str, *, at: int = 1) -> Callable[..., Mapping[str, Any]]:
    """Reader for a call with a mapping of metrics, at position `at` or by name."""
    return lambda *args, **options: options[name] if name in options else args[at]


def _pair(key: str, value: str, *, at: int = 1) -> Callable[..., Mapping[str, Any]]:
    """Reader for a call with a metric's name at position `at` and its value behind it, each possibly by keyword."""

    def read_metrics(*args: Any, **options: Any) -> Mapping[str, Any]:
        name = options[key] if key in options else args[at]
        return {name: options[value] if value in options else args[at + 1]}

    return read_metrics


def _tracked_by_aim(_run: Any, value: Any, name: str | None = None, *_: Any, **__: Any) -> Mapping[str, Any]:
    """The metrics of `Run.track`, which takes one value with a name, or a mapping."""
    return {name: value} if name is not None else value


def _connector_metrics(connector: Any, metrics: Mapping[str, Any], *_: Any, **__: Any) -> Mapping[str, Any]:
    """The metrics given to the connector; without a logger Lightning reads no value, so none that needs a synchronisation."""
    return (
        metrics
        if connector.trainer.loggers
        else {name: value for name, value in metrics.items() if not needs_synchronisation(value)}
    )
