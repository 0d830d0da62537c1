"""Trains a PreTrainedModel of its own with the Trainer of Transformers."""

import numpy as np
from digits import load_split
from fingerprint import print_fingerprint
from model import DigitsConfig, DigitsModel
from transformers import Trainer, TrainingArguments, set_seed


def examples(images, labels):
    return [{"pixels": image, "labels": label} for image, label in zip(images, labels, strict=True)]


def compute_metrics(prediction):
    return {"accuracy": float((np.argmax(prediction.predictions, axis=1) == prediction.label_ids).mean())}


def main():
    set_seed(0)
    x_train, x_val, y_train, y_val = load_split()
    model = DigitsModel(DigitsConfig())
    arguments = TrainingArguments(
        output_dir="results",
        num_train_epochs=12,
        per_device_train_batch_size=64,
        per_device_eval_batch_size=360,
        learning_rate=2e-3,
        eval_strategy="epoch",
        save_strategy="no",
        logging_steps=10,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=examples(x_train, y_train),
        eval_dataset=examples(x_val, y_val),
        compute_metrics=compute_metrics,
    )
    trainer.train()
    print(f"eval_accuracy {trainer.evaluate()['eval_accuracy']:.4f}")
    trainer.save_model("results/best")
    print_fingerprint([entry["loss"] for entry in trainer.state.log_history if "loss" in entry], model.state_dict())


if __name__ == "__main__":
    main()
