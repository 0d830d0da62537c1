"""Trains a Keras model on the torch backend, and saves it."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from digits import load_split
from fingerprint import print_fingerprint
from model import make_model

keras.utils.set_random_seed(0)
x_train, x_val, y_train, y_val = (tensor.numpy() for tensor in load_split())
model = make_model()
model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=64, epochs=12, validation_data=(x_val, y_val), verbose=2)
loss, accuracy = model.evaluate(x_val, y_val, verbose=0)
print(f"test_accuracy {accuracy:.4f}")
model.save("model.keras")
print_fingerprint(history.history["loss"], model.get_weights())
