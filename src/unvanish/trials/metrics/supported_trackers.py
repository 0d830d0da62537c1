"""The functions by which scripts tell experiment trackers of metrics, and what each call tells. It calls none itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from unvanish.observe.statistics.scalars import number, waits


@dataclass(frozen=True, slots=True)
class TrackerCall:
    """One such function: `name` in `module`, as "function" or "Class.method".

    `told` gets the call's arguments and gives metrics by name, as they are, mappings of mappings too, whose names are joined by
    `joint`; what it raises means that nothing was told. A call that `passes_on` what it is told may do so to other trackers.
    """

    module: str
    name: str
    told: Callable[..., Mapping[str, Any]]
    joint: str = "/"
    passes_on: bool = True

    @property
    def package(self) -> str:
        """The package that is imported before the module."""
        return self.module.partition(".")[0]


def tracker_calls() -> tuple[TrackerCall, ...]:
    """All that are known. They are made anew each time, since those of Lightning remember the batches of an evaluation."""
    return (
        TrackerCall("torch.utils.tensorboard.writer", "SummaryWriter.add_scalar", _pair("tag", "scalar_value")),
        TrackerCall("torch.utils.tensorboard.writer", "SummaryWriter.add_scalars", _pair("main_tag", "tag_scalar_dict")),
        TrackerCall("tensorboardX.writer", "SummaryWriter.add_scalar", _pair("tag", "scalar_value")),
        TrackerCall("tensorboardX.writer", "SummaryWriter.add_scalars", _pair("main_tag", "tag_scalar_dict")),
        TrackerCall("wandb.sdk.wandb_run", "Run.log", _mapping("data"), joint="."),
        TrackerCall("wandb.sdk.lib.noop_run", "NoopRun.log", _mapping("data"), joint="."),
        TrackerCall("mlflow", "log_metric", _pair("key", "value", at=0)),
        TrackerCall("mlflow", "log_metrics", _mapping("metrics", at=0)),
        TrackerCall("mlflow.tracking.client", "MlflowClient.log_metric", _pair("key", "value", at=2)),
        TrackerCall("trackio", "log", _mapping("metrics", at=0)),
        TrackerCall("trackio.run", "Run.log", _mapping("metrics")),
        TrackerCall("transformers.trainer", "Trainer.log", _mapping("logs")),
        TrackerCall("accelerate.accelerator", "Accelerator.log", _mapping("values")),
        *_lightning("lightning.pytorch", "lightning.fabric"),
        *_lightning("pytorch_lightning", "lightning_fabric"),
    )


def _lightning(root: str, fabric: str) -> tuple[TrackerCall, ...]:
    """Lightning's, which comes as one package and as two.

    What its loop hands to the loggers passes the connector first, also where there is no logger; loggers may be called by hand.
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
        TrackerCall(f"{root}.core.module", "LightningModule.log", EvaluationMeans().told, passes_on=False),
        TrackerCall(connector, "_LoggerConnector.log_metrics", _connected),
        TrackerCall(f"{fabric}.fabric", "Fabric.log_dict", _mapping("metrics")),
        *(TrackerCall(module, f"{kind}.log_metrics", _mapping("metrics")) for module, kind in loggers),
    )


class EvaluationMeans:
    """What `LightningModule.log` tells: in an evaluation the mean over the batches so far, as Lightning makes it at its end.

    Lightning does not read the values here, so those that would have to be waited for are left to the end, where it does.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[int, str], tuple[object, float, float]] = {}

    def told(
        self, module: Any, name: str, value: Any, *_: Any, reduce_fx: Any = "mean", batch_size: int | None = None, **__: Any
    ) -> Mapping[str, float]:
        """The metric of one call; nothing of the batches that are tried before the training."""
        trainer = module.trainer
        found = None if trainer.sanity_checking or waits(value) else number(value)
        if found is None or not trainer.evaluating:
            return {} if found is None else {name: found}
        if reduce_fx != "mean":
            return {}
        evaluation, share = (trainer.state.stage, trainer.global_step), float(batch_size or _batch_size(trainer))
        last, total, weight = self._sums.get((id(module), name), (None, 0.0, 0.0))
        if last != evaluation:
            total = weight = 0.0
        total, weight = total + share * found, weight + share
        self._sums[id(module), name] = evaluation, total, weight
        return {name: total / weight}


def _batch_size(trainer: Any) -> int:
    """The size of the batch as Lightning has just found it, by which it weights the batch in the mean."""
    return getattr(getattr(trainer, "_results", None), "batch_size", None) or 1


def _mapping(name: str, *, at: int = 1) -> Callable[..., Mapping[str, Any]]:
    """For a call with a mapping of metrics, by position or by name."""
    return lambda *args, **options: options[name] if name in options else args[at]


def _pair(key: str, value: str, *, at: int = 1) -> Callable[..., Mapping[str, Any]]:
    """For a call with a metric's name and its value behind it, each by position or by name."""

    def told(*args: Any, **options: Any) -> Mapping[str, Any]:
        name = options[key] if key in options else args[at]
        return {name: options[value] if value in options else args[at + 1]}

    return told


def _connected(connector: Any, metrics: Mapping[str, Any], *_: Any, **__: Any) -> Mapping[str, Any]:
    """Where there is no logger, nobody else reads the values, so none is waited for."""
    return metrics if connector.trainer.loggers else {name: value for name, value in metrics.items() if not waits(value)}
