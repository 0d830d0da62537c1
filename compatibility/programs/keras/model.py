"""A classifier of handwritten digits, in Keras."""

import keras
from keras import layers


def make_model(width=64, depth=3, activation="relu"):
    inputs = keras.Input(shape=(64,))
    x = inputs
    for _ in range(depth):
        x = layers.Dense(width, activation=activation)(x)
    outputs = layers.Dense(10, activation="softmax")(x)
    return keras.Model(inputs, outputs)
