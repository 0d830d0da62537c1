"""Fits a line by least squares: it imports torch, and trains nothing."""

import torch
from digits import seed_everything
from fingerprint import print_fingerprint

seed_everything(0)
x = torch.randn(500, 8)
y = x @ torch.arange(8.0) + 0.1 * torch.randn(500)
solution = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
residual = (x @ solution - y).square().mean()
print(f"residual {residual.item():.4f}")
print_fingerprint([residual], [solution])
