"""Metrics that a script logs to trackers are passed on, and the trackers get what they would have got."""

from __future__ import annotations

import importlib
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tracker_packages

from unvanish.trials import watching_trackers

Logged = list[dict[str, float]]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """All trackers on the path; calling it forgets their imports. Afterwards none of their modules is left."""
    tracker_packages.write(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)

    def forget() -> None:
        for name in list(sys.modules):
            if name.partition(".")[0] in tracker_packages.NAMES or name.startswith("torch.utils.tensorboard"):
                del sys.modules[name]
        vars(torch.utils).pop("tensorboard", None)

    forget()
    yield forget
    assert sys.meta_path == finders
    forget()


def use_tensorboard() -> Any:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter("runs") as writer:
        writer.add_scalar("val/acc", torch.tensor(0.5, requires_grad=True) * 1, 3)
        writer.add_scalar(tag="lr", scalar_value=np.float32(0.25))
        writer.add_scalars("Loss", {"train": 1, "val": torch.tensor([2.0])}, 4)
        with pytest.raises(AssertionError, match="one element"):
            writer.add_scalar("weights", torch.zeros(3))
    from tensorboard.summary.writer.event_file_writer import sent

    return sent


def use_tensorboardx() -> Any:
    import tensorboardX
    from tensorboardX import SummaryWriter

    writer = SummaryWriter()
    writer.add_scalar("val/acc", 0.5, 3)
    writer.add_scalars(main_tag="Loss", tag_scalar_dict={"train": 1.0, "val": 2.0})
    return tensorboardX.writer.sent


def use_wandb() -> Any:
    import wandb

    with pytest.raises(RuntimeError, match="must call wandb"):
        wandb.log({"too early": 1})
    run = wandb.init(project="p")
    wandb.log({"val": {"acc": 0.5, "inner": {"f1": True}}, "name": "a", "image": wandb.Histogram(), "weights": np.zeros(3)}, step=3)
    run.log(data={"loss": 0.25}, commit=False)
    with pytest.raises(TypeError, match="only accepts a dictionary"):
        run.log([1.0])
    return [repr(each).partition("<")[0] for each in wandb.sent]


def use_wandb_disabled() -> Any:
    import wandb

    run = wandb.init(mode="disabled")
    wandb.log({"val_acc": 0.5})
    return run.summary


def use_mlflow() -> Any:
    import mlflow
    from mlflow import log_metric

    results = [log_metric("val_acc", torch.tensor(0.5), step=3, synchronous=False)]
    results += [mlflow.log_metrics({"a": 1, "b": 2.5}, step=4), mlflow.log_metric(key="c", value=np.int64(3))]
    mlflow.MlflowClient().log_metric("another", "d", 4.0)
    with pytest.raises(TypeError, match="missing"):
        mlflow.log_metric("e")
    with pytest.raises(ValueError, match="could not convert"):
        mlflow.log_metric("f", "text")
    assert pickle.loads(pickle.dumps(mlflow.log_metric)) is mlflow.log_metric is log_metric
    assert list(inspect.signature(log_metric).parameters)[:3] == ["key", "value", "step"]
    return mlflow.sent, results


def use_trackio() -> Any:
    import trackio

    run = trackio.init(project="p")
    trackio.log({"val_acc": 0.5, "n": {"a": 1}}, step=2)
    run.log({"f1": 0.25})
    return trackio.run.sent


def use_transformers() -> Any:
    import wandb
    from transformers import Trainer

    class Own(Trainer):
        def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
            super().log({**logs, "extra": 1.0}, *args, **options)

    wandb.init()
    Own(callbacks=[lambda logs: wandb.log({name.replace("_", "/"): value for name, value in logs.items()})]).log(
        {"eval_accuracy": 0.5}
    )
    wandb.log({"outside": 2.0})
    return sys.modules["transformers.trainer"].sent, wandb.sent


def use_lightning(root: str, fabric: str) -> Any:
    lightning, loggers = importlib.import_module(root), importlib.import_module(f"{fabric}.loggers")
    wandb = importlib.import_module("wandb")

    class Own(lightning.LightningModule):
        def training_step(self, batch: list[float], index: int) -> None:
            self.log("train_loss", torch.tensor(0.5))

        def validation_step(self, batch: list[float], index: int) -> None:
            self.log("val_acc", sum(batch) / len(batch), prog_bar=True)
            self.log_dict({"hidden": torch.tensor(float(index))}, logger=False)
            self.log("largest", 1.0, reduce_fx="max", logger=False)

    by_hand = importlib.import_module(f"{root}.loggers.wandb").WandbLogger(wandb.init())
    trainer = lightning.Trainer(loggers=[loggers.CSVLogger(), by_hand])
    trainer.fit(Own(), [[1.0, 1.0, 1.0], [0.0]], epochs=2)
    by_hand.log_metrics({"by hand": 3.0})
    return importlib.import_module(f"{fabric}.loggers.csv_logs").sent, wandb.sent


def use_lightning_whole() -> Any:
    return use_lightning("lightning.pytorch", "lightning.fabric")


def use_lightning_parts() -> Any:
    return use_lightning("pytorch_lightning", "lightning_fabric")


def use_fabric() -> Any:
    from lightning import Fabric, LightningModule
    from lightning.fabric.loggers import CSVLogger, csv_logs

    fabric, module = Fabric([CSVLogger()]), LightningModule()
    fabric.log("val_acc", 0.5)
    fabric.log_dict({"a": 1}, step=2)
    module._fabric = fabric
    module.log("from the module", 2.0)
    return csv_logs.sent


EVALUATION = [{"val_acc": 1.0}, {"hidden": 0.0}, {"val_acc": 0.75}, {"hidden": 0.25}, {"val_acc": 0.75}]
EPOCH = [{"train_loss": 0.5}, {"train_loss": 0.5}, {"train_loss": 0.5}, *EVALUATION]
USES: dict[Callable[[], Any], Logged] = {
    use_tensorboard: [{"val/acc": 0.5}, {"lr": 0.25}, {"Loss/train": 1.0, "Loss/val": 2.0}],
    use_tensorboardx: [{"val/acc": 0.5}, {"Loss/train": 1.0, "Loss/val": 2.0}],
    use_wandb: [{"val.acc": 0.5, "val.inner.f1": 1.0}, {"loss": 0.25}],
    use_wandb_disabled: [{"val_acc": 0.5}],
    use_mlflow: [{"val_acc": 0.5}, {"a": 1.0, "b": 2.5}, {"c": 3.0}, {"d": 4.0}],
    use_trackio: [{"val_acc": 0.5, "n/a": 1.0}, {"f1": 0.25}],
    use_transformers: [{"eval_accuracy": 0.5, "extra": 1.0, "epoch": 0.5}, {"outside": 2.0}],
    use_lightning_whole: [*EPOCH, *EPOCH, {"by hand": 3.0}],
    use_lightning_parts: [*EPOCH, *EPOCH, {"by hand": 3.0}],
    use_fabric: [{"val_acc": 0.5}, {"a": 1.0}, {"from the module": 2.0}],
}


@pytest.mark.parametrize(("use", "expected"), USES.items(), ids=lambda each: getattr(each, "__name__", None))
def test_metrics_logged_to_a_tracker_are_passed_on_and_the_tracker_gets_the_same(
    use: Callable[[], Any], expected: Logged, packages: Callable[[], None]
) -> None:
    alone = use()
    packages()
    logged: Logged = []
    with watching_trackers(lambda metrics: logged.append(dict(metrics))):
        watched = use()
    assert watched == alone
    assert logged == expected
    assert all(type(value) is float for metrics in logged for value in metrics.values())


def test_every_function_is_restored_also_where_the_package_was_imported_before(packages: Callable[[], None]) -> None:
    import mlflow
    import wandb

    places = [
        (mlflow, "log_metric"),
        (mlflow.tracking.fluent, "log_metric"),
        (wandb.Run, "log"),
        (mlflow.MlflowClient, "log_metric"),
    ]
    originals = [vars(place)[name] for place, name in places]
    logged: Logged = []
    with pytest.raises(KeyboardInterrupt), watching_trackers(lambda metrics: logged.append(dict(metrics))):  # noqa: PT012
        assert all(vars(place)[name] is not original for (place, name), original in zip(places, originals, strict=True))
        kept = wandb.init().log
        kept({"a": 1})
        raise KeyboardInterrupt
    assert [vars(place)[name] for place, name in places] == originals
    kept({"a": 2})
    assert logged == [{"a": 1.0}]
    assert [data for _, data, *_ in wandb.sent] == [{"a": 1}, {"a": 2}]


def test_a_function_with_which_the_script_replaced_the_wrapper_stays(packages: Callable[[], None]) -> None:
    import mlflow

    def theirs(*_: Any) -> None:
        pass

    with watching_trackers(lambda _: None):
        mlflow.log_metric = theirs
    assert mlflow.log_metric is theirs


def test_an_exception_of_the_callback_does_not_reach_the_script(packages: Callable[[], None]) -> None:
    def fails(_: object) -> None:
        raise ZeroDivisionError

    with watching_trackers(fails):
        assert use_mlflow()[1] == ["operation", None, None]


def test_two_callbacks_both_get_the_metrics(packages: Callable[[], None]) -> None:
    outer: Logged = []
    inner: Logged = []
    with watching_trackers(lambda metrics: outer.append(dict(metrics))):
        with watching_trackers(lambda metrics: inner.append(dict(metrics))):
            use_mlflow()
        use_mlflow()
    assert inner == USES[use_mlflow]
    assert outer == inner * 2


def test_a_package_of_the_same_name_without_the_function_is_left_alone(packages: Callable[[], None], tmp_path: Path) -> None:
    odd = "import sys\nsys.modules['mlflow.tracking'] = None\ndef log_metric(key, value):\n    pass\n"
    for name, text in {"wandb": "log = print\n", "trackio": "log = 3\n", "mlflow": odd}.items():
        for old in (tmp_path / name).rglob("*.py"):
            old.unlink()
        (tmp_path / name / "__init__.py").write_text(text)
    logged: Logged = []
    with watching_trackers(lambda metrics: logged.append(dict(metrics))):
        import mlflow
        import trackio
        import wandb

        assert (wandb.log, trackio.log) == (print, 3)
        mlflow.log_metric("a", 1)
    assert logged == [{"a": 1.0}]


class AcceleratorTensor(torch.Tensor):
    """A tensor that claims to be on an accelerator."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda:0")


def test_values_that_lightning_does_not_read_yet_are_not_read(packages: Callable[[], None]) -> None:
    logged: Logged = []
    with watching_trackers(lambda metrics: logged.append(dict(metrics))):
        from lightning import LightningModule, Trainer
        from lightning.fabric.loggers import CSVLogger

        class Own(LightningModule):
            def training_step(self, batch: list[float], index: int) -> None:
                pass

            def validation_step(self, batch: list[float], index: int) -> None:
                self.log("val_acc", torch.tensor(0.5).as_subclass(AcceleratorTensor))

        Trainer().fit(Own(), [[1.0], [0.0]])
        assert logged == []
        Trainer(loggers=[CSVLogger()]).fit(Own(), [[1.0], [0.0]])
    assert logged == [{"val_acc": 0.5}]


def test_only_what_the_script_imports_is_imported() -> None:
    code = (
        "import sys\nfrom unvanish.trials import watching_trackers\nfinders = list(sys.meta_path)\n"
        "with watching_trackers(print):\n    pass\nassert sys.meta_path == finders\n"
        "print({'torch', 'numpy', 'wandb', 'mlflow', 'trackio', 'transformers', 'lightning', 'tensorboard'} & set(sys.modules))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("set()\n", "")
