"""Programs of real trainers, where these are installed: a sick network is named, a healthy one is left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

KERAS = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy as np
from keras import layers
keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(800, 16)).astype("float32")
y = (x[:, 0] > 0).astype("int32") + 2 * (x[:, 1] > 0).astype("int32")
hidden = [layers.Dense(32, activation="ACTIVATION") for _ in range(DEPTH)]
model = keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(4, activation="softmax")])
model.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Adam(3e-3))
model.fit(x, y, batch_size=32, epochs=4, verbose=0)
"""
LIGHTNING = """
import lightning, torch
from torch import nn
class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        hidden = [m for _ in range(DEPTH) for m in (nn.Linear(16, 16), ACTIVATION)]
        self.model = nn.Sequential(*hidden, nn.Linear(16, 4))
    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 3e-3)
torch.manual_seed(0)
x = torch.randn(800, 16)
data = torch.utils.data.TensorDataset(x, (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long())
trainer = lightning.Trainer(max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
trainer.fit(Classifier(), torch.utils.data.DataLoader(data, 32, shuffle=True))
"""


def diagnose_program(folder: Path, source: str) -> dict[str, Any]:
    """The diagnosis that `unvanish run` writes of a program."""
    script, document = folder / "train.py", folder / "diagnosis.json"
    script.write_text(source)
    command = [
        sys.executable,
        "-m",
        "unvanish",
        "run",
        "--quiet",
        "--out",
        str(folder / "run"),
        "--json",
        str(document),
        str(script),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(document.read_text())


@pytest.mark.parametrize(
    ("package", "source", "sigmoid", "relu"),
    [("keras", KERAS, "sigmoid", "relu"), ("lightning", LIGHTNING, "nn.Sigmoid()", "nn.ReLU()")],
    ids=["keras", "lightning"],
)
def test_a_trainers_sick_network_is_named_and_its_healthy_one_left_alone(
    tmp_path: Path, package: str, source: str, sigmoid: str, relu: str
) -> None:
    if find_spec(package) is None:  # Keras is not imported here, since it would look for another backend
        pytest.skip(f"{package} is not installed")
    for name, activation, depth, codes in (("sick", sigmoid, 10, ["vanishing-gradient"]), ("healthy", relu, 2, [])):
        folder = tmp_path / name
        folder.mkdir()
        diagnosis = diagnose_program(folder, source.replace("ACTIVATION", activation).replace("DEPTH", str(depth)))
        loud = [finding for finding in diagnosis["findings"] if finding["severity"] != "info"]
        assert [finding["code"] for finding in loud] == codes
        if loud:
            assert loud[0]["cause"]["code"] == "saturating-activation"
            assert len(loud[0]["sites"]) >= 5
