"""Is a breast tumour benign? A small network on thirty measurements of cell nuclei, as the laboratory delivers them."""

import os
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(int(os.environ.get("SEED", 0)))
torch.set_num_threads(1)
epochs = int(os.environ.get("EPOCHS", 30))

table = Path(__file__).resolve().parents[2] / "shared" / "data" / "breast_cancer.npz"
if table.exists():
    data = np.load(table)
    x_train, x_test, y_train, y_test = data["x_train"], data["x_test"], data["y_train"], data["y_test"]
else:
    cancer = load_breast_cancer()
    x_train, x_test, y_train, y_test = train_test_split(
        cancer.data, cancer.target, test_size=0.2, stratify=cancer.target, random_state=0
    )

x_train, x_test = torch.as_tensor(x_train, dtype=torch.float32), torch.as_tensor(x_test, dtype=torch.float32)
y_train = torch.as_tensor(y_train, dtype=torch.float32).unsqueeze(1)
loader = DataLoader(TensorDataset(x_train, y_train), batch_size=32, shuffle=True)

model = nn.Sequential(
    nn.Linear(30, 32),
    nn.ReLU(),
    nn.Linear(32, 16),
    nn.ReLU(),
    nn.Linear(16, 1),
)
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

for epoch in range(1, epochs + 1):
    model.train()
    for features, benign in loader:
        loss = criterion(model(features), benign)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        score = model(x_test).squeeze(1).numpy()
    if epoch % 3 == 0 or epoch == epochs:
        accuracy, auc = ((score > 0) == y_test).mean(), roc_auc_score(y_test, score)
        print(f"epoch {epoch:2d}  loss {loss.item():.4f}  val_accuracy {accuracy:.4f}  val_auc {auc:.4f}")
