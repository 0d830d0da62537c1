"""Spoken digits from their log-mel spectrogram with a recurrent network that answers after the last frame.

Without recordings, the digits are keyed instead of spoken: the two tones of a telephone's key, in noise, and then a pause.
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

SEED = int(os.environ.get("SEED", 0))
EPOCHS = int(os.environ.get("EPOCHS", 12))
FRAMES, BANDS = 64, 32

torch.manual_seed(SEED)
torch.set_num_threads(1)


def recordings():
    """Log-mel frames in decibels, of shape (recordings, frames, bands), the digits, and which of them are for the test."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / "fsdd_logmel.npz"
    if path.exists():
        data = np.load(path)
        return data["x"] / 255 * 80 - 80, data["label"], data["is_test"]
    rng = np.random.default_rng(0)
    keys = [(941, 1336)] + [(low, high) for low in (697, 770, 852) for high in (1209, 1336, 1477)]
    digits = rng.integers(0, 10, 1800)
    time = np.arange(100 * FRAMES + 156) / 8000
    waves = 0.01 * rng.standard_normal((len(digits), len(time)))
    for wave, digit in zip(waves, digits, strict=True):
        low, high = keys[digit]
        held = time < rng.uniform(0.2, 0.5)
        wave += held * rng.uniform(0.3, 1) * (np.sin(2 * np.pi * low * time) + np.sin(2 * np.pi * high * time))
    frames = np.lib.stride_tricks.sliding_window_view(waves, 256, axis=1)[:, ::100] * np.hanning(256)
    power = np.abs(np.fft.rfft(frames))[..., : 2 * BANDS] ** 2
    decibels = 10 * np.log10(power.reshape(*power.shape[:2], BANDS, 2).mean(-1))
    decibels -= decibels.max((1, 2), keepdims=True)
    return decibels.clip(min=-40), digits, np.arange(len(digits)) < 300


class Recogniser(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.rnn = nn.RNN(BANDS, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 10)

    def forward(self, x):
        states, _ = self.rnn(x)
        return self.out(states[:, -1])


frames, digits, is_test = recordings()
frames = (frames - frames[~is_test].mean()) / frames[~is_test].std()
frames, digits = torch.tensor(frames, dtype=torch.float32), torch.tensor(digits, dtype=torch.long)
x_train, y_train, x_val, y_val = frames[~is_test], digits[~is_test], frames[is_test], digits[is_test]

model = Recogniser()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

for epoch in range(EPOCHS):
    for batch in torch.randperm(len(x_train)).split(32):
        loss = F.cross_entropy(model(x_train[batch]), y_train[batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        val_accuracy = (model(x_val).argmax(1) == y_val).float().mean()
    print(f"epoch {epoch + 1}/{EPOCHS}: train loss {loss:.3f}, val accuracy {val_accuracy:.3f}")
