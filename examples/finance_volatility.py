"""How nervous will the market be in a week? The volatility index VIX, five trading days ahead, from its last twenty closes.

Without the index, a market of the same temper is made up: log volatility that returns to its mean, and is shocked now and then.
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", "0")))
torch.set_num_threads(1)

LAGS, AHEAD, BATCH = 20, 5, 64
EPOCHS = int(os.environ.get("EPOCHS", "15"))


def log_volatility():
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / "finance_daily.npz"
    if path.exists():
        return np.log(np.load(path)["vix"].astype(np.float64))
    rng = np.random.default_rng(0)
    shocks = 0.05 * rng.standard_normal(6000) + 0.3 * (rng.random(6000) < 0.01)
    levels = [3.0]
    for shock in shocks:
        levels.append(levels[-1] + 0.02 * (3.0 - levels[-1]) + shock)
    return np.array(levels)


class Forecaster(nn.Module):
    def __init__(self, lags, hidden=64):
        super().__init__()
        self.fc1 = nn.Linear(lags, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.head(x).squeeze(-1)


series = log_volatility()
split = int(0.8 * len(series))
series = torch.tensor((series - series[:split].mean()) / series[:split].std(), dtype=torch.float32)
windows = series.unfold(0, LAGS + AHEAD, 1)
past, future = windows[:, :LAGS], windows[:, -1]
x_train, y_train, x_val, y_val = past[:split], future[:split], past[split:], future[split:]

model = Forecaster(LAGS)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)

for epoch in range(1, EPOCHS + 1):
    losses = []
    for rows in torch.randperm(len(x_train)).split(BATCH):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x_train[rows]), y_train[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        error = F.mse_loss(model(x_val), y_val)
    r2 = 1 - error / y_val.var()
    print(f"epoch {epoch:2d}  train mse {np.mean(losses):.4f}  val mse {error:.4f}  val R2 {r2:.3f}")
