"""Sentences of invented words, half of which hold a word of praise: a classification that a small transformer learns."""

import numpy as np
import torch
from torch.utils.data import Dataset

VOCABULARY, LENGTH, PRAISE = 60, 12, (7, 8, 9)


class Reviews(Dataset):
    def __init__(self, count, seed):
        generator = np.random.default_rng(seed)
        self.tokens = generator.integers(10, VOCABULARY, (count, LENGTH))
        self.labels = generator.integers(0, 2, count)
        for row, place in zip(np.flatnonzero(self.labels), generator.integers(1, LENGTH, count), strict=False):
            self.tokens[row, place] = generator.choice(PRAISE)
        self.tokens[:, 0] = 1

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        tokens = torch.tensor(self.tokens[index])
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": torch.tensor(self.labels[index])}
