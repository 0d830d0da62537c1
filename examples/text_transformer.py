"""A small language model: a transformer that guesses the next character of a text."""

import math
import os
from pathlib import Path

import torch
from sklearn import datasets
from torch import nn

torch.manual_seed(int(os.environ.get("SEED", "0")))
torch.set_num_threads(1)
STEPS = int(os.environ.get("STEPS", "200"))
CONTEXT, WIDTH, HEADS, LAYERS, BATCH = 24, 32, 4, 12, 16


def load_text():
    plays = Path(__file__).resolve().parents[2] / "shared" / "data" / "tiny_shakespeare.txt"
    if plays.exists():
        return plays.read_text(encoding="utf-8")
    loaders = (datasets.load_breast_cancer, datasets.load_iris, datasets.load_digits, datasets.load_diabetes, datasets.load_wine)
    return "".join(load().DESCR for load in loaders)


class LanguageModel(nn.Module):
    def __init__(self, characters):
        super().__init__()
        self.embedding = nn.Embedding(characters, WIDTH)
        self.position = nn.Embedding(CONTEXT, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.decoder = nn.Linear(WIDTH, characters)
        self.register_buffer("causal", nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    def forward(self, text):
        x = self.embedding(text) * math.sqrt(WIDTH) + self.position.weight
        return self.decoder(self.encoder(x, mask=self.causal, is_causal=True))


def draw(text, count):
    starts = torch.randint(0, len(text) - CONTEXT, (count, 1))
    windows = text[starts + torch.arange(CONTEXT + 1)]
    return windows[:, :-1], windows[:, 1:]


def main():
    text = load_text()
    alphabet = {character: number for number, character in enumerate(sorted(set(text)))}
    encoded = torch.tensor([alphabet[character] for character in text])
    split = int(0.9 * len(encoded))
    train_text, val_text = encoded[:split], encoded[split:]
    val_inputs, val_targets = draw(val_text, 64)

    model = LanguageModel(len(alphabet))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    criterion = nn.CrossEntropyLoss()

    for step in range(1, STEPS + 1):
        inputs, targets = draw(train_text, BATCH)
        loss = criterion(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            model.eval()
            with torch.no_grad():
                scores = model(val_inputs)
                val_loss = criterion(scores.flatten(0, 1), val_targets.flatten())
                accuracy = (scores.argmax(-1) == val_targets).float().mean()
            model.train()
            print(f"step {step:4d} | loss {loss.item():.3f} | val loss {val_loss.item():.3f} | val accuracy {accuracy.item():.3f}")


if __name__ == "__main__":
    main()
