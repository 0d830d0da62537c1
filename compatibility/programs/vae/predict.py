"""The loss of held-out digits with the weights that train.py saved."""

import torch
from digits import load_split, seed_everything
from model import VAE

seed_everything(0)
x_val = load_split()[1]
model = VAE()
model.load_state_dict(torch.load("model.pt", weights_only=True))
model.eval()
with torch.no_grad():
    decoded = model.decode(model.encode(x_val)[0])
print(f"val_error {torch.nn.functional.mse_loss(decoded, x_val).item():.4f}")
