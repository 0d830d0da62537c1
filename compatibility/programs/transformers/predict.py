"""Tells held-out sentences apart with the model that train.py saved."""

import torch
from data import Reviews
from transformers import BertForSequenceClassification

model = BertForSequenceClassification.from_pretrained("results/best").eval()
reviews = Reviews(300, seed=2)
with torch.no_grad():
    scores = model(torch.tensor(reviews.tokens)).logits
print(f"eval_accuracy {(scores.argmax(1).numpy() == reviews.labels).mean():.4f}")
