"""Trains a generative adversarial network on handwritten digits."""

import torch
from digits import load_split, seed_everything
from fingerprint import print_fingerprint
from model import LATENT, Discriminator, Generator
from torch import nn
from torch.utils.data import DataLoader

seed_everything(0)
x_train, x_val, _, _ = load_split()
loader = DataLoader(x_train, batch_size=64, shuffle=True, drop_last=True)
generator, discriminator = Generator(), Discriminator()
criterion = nn.BCEWithLogitsLoss()
optimizer_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
fixed_noise = torch.randn(500, LATENT, generator=torch.Generator().manual_seed(1))
real, fake = torch.ones(64, 1), torch.zeros(64, 1)

losses = []
for epoch in range(30):
    for images in loader:
        made = generator(torch.randn(64, LATENT))
        optimizer_d.zero_grad()
        loss_d = criterion(discriminator(images), real) + criterion(discriminator(made.detach()), fake)
        loss_d.backward()
        optimizer_d.step()

        optimizer_g.zero_grad()
        loss_g = criterion(discriminator(made), real)
        loss_g.backward()
        optimizer_g.step()
        losses += [loss_d.item(), loss_g.item()]
    if epoch % 5 == 4:
        with torch.no_grad():
            mean = generator(fixed_noise).mean(0)
        print(f"epoch {epoch} loss_d {losses[-2]:.4f} loss_g {losses[-1]:.4f} mean_error {(mean - x_val.mean(0)).abs().mean():.4f}")
with torch.no_grad():
    mean = generator(fixed_noise).mean(0)
print(f"mean_error {(mean - x_val.mean(0)).abs().mean():.4f}")
torch.save({"generator": generator.state_dict(), "discriminator": discriminator.state_dict()}, "model.pt")
print_fingerprint(losses, [*generator.state_dict().values(), *discriminator.state_dict().values()])
