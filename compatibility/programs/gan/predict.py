"""Says how far the mean of generated digits, with the weights that train.py saved, is from that of real ones."""

import torch
from digits import load_split
from model import LATENT, Discriminator, Generator

state = torch.load("model.pt", weights_only=True)
generator = Generator()
generator.load_state_dict(state["generator"])
Discriminator().load_state_dict(state["discriminator"])
with torch.no_grad():
    mean = generator(torch.randn(500, LATENT, generator=torch.Generator().manual_seed(1))).mean(0)
print(f"mean_error {(mean - load_split()[1].mean(0)).abs().mean():.4f}")
