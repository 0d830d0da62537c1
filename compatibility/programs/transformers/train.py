"""Trains a small BERT from scratch to tell sentences apart, with the Trainer of Transformers."""

import numpy as np
from data import VOCABULARY, Reviews
from fingerprint import print_fingerprint
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments, set_seed


class KeepLosses(TrainerCallback):
    def __init__(self):
        self.losses = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


def compute_metrics(prediction):
    scores, labels = prediction
    return {"accuracy": float((np.argmax(scores, axis=1) == labels).mean())}


def main():
    set_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    model = BertForSequenceClassification(config)
    arguments = TrainingArguments(
        output_dir="results",
        num_train_epochs=8,
        per_device_train_batch_size=32,
        learning_rate=2e-3,
        weight_decay=0.01,
        eval_strategy="epoch",
        save_strategy="no",
        logging_steps=10,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    kept = KeepLosses()
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Reviews(1000, seed=1),
        eval_dataset=Reviews(300, seed=2),
        compute_metrics=compute_metrics,
        callbacks=[kept],
    )
    trainer.train()
    print(f"eval_accuracy {trainer.evaluate()['eval_accuracy']:.4f}")
    trainer.save_model("results/best")
    print_fingerprint(kept.losses, model.state_dict())


if __name__ == "__main__":
    main()
