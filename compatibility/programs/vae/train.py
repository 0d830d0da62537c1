"""Trains a variational autoencoder of handwritten digits with a loss that is summed over pixels and images."""

import torch
from digits import load_split, seed_everything
from fingerprint import print_fingerprint
from model import VAE, loss_function
from torch.utils.data import DataLoader

seed_everything(0)
x_train, x_val, _, _ = load_split()
train_loader = DataLoader(x_train, batch_size=64, shuffle=True)
test_loader = DataLoader(x_val, batch_size=64)
model = VAE()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

losses = []
for epoch in range(15):
    model.train()
    for data in train_loader:
        optimizer.zero_grad()
        recon_batch, mu, logvar = model(data)
        loss = loss_function(recon_batch, data, mu, logvar)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    test_loss = 0
    with torch.no_grad():
        for data in test_loader:
            recon_batch, mu, logvar = model(data)
            test_loss += loss_function(recon_batch, data, mu, logvar).item()
    print(f"epoch {epoch} loss {losses[-1]:.4f} test_loss {test_loss / len(x_val):.4f}")
with torch.no_grad():
    decoded = model.decode(model.encode(x_val)[0])
print(f"val_error {torch.nn.functional.mse_loss(decoded, x_val).item():.4f}")
torch.save(model.state_dict(), "model.pt")
print_fingerprint(losses, model.state_dict())
