"""Trains a network of bare tensors, with a function of its own for the activation, its backward pass and the update."""

import math

import torch
from digits import load_split, seed_everything
from fingerprint import print_fingerprint


class Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x > 0)


def forward(x, weights):
    *hidden, (last, offset) = weights
    for weight, bias in hidden:
        x = Relu.apply(x @ weight + bias)
    return x @ last + offset


def main():
    seed_everything(0)
    x_train, x_val, y_train, y_val = load_split()
    sizes = [64, 64, 64, 10]
    weights = []
    for fan_in, fan_out in zip(sizes, sizes[1:], strict=False):
        weight = (torch.randn(fan_in, fan_out) * math.sqrt(2 / fan_in)).requires_grad_()
        weights.append((weight, torch.zeros(fan_out, requires_grad=True)))
    losses = []
    for epoch in range(15):
        for batch in torch.randperm(len(x_train)).split(64):
            scores = forward(x_train[batch], weights)
            loss = -scores.log_softmax(1).gather(1, y_train[batch, None]).mean()
            loss.backward()
            with torch.no_grad():
                for tensor in (t for pair in weights for t in pair):
                    tensor -= 0.2 * tensor.grad
                    tensor.grad = None
            losses.append(loss.item())
        with torch.no_grad():
            accuracy = (forward(x_val, weights).argmax(1) == y_val).float().mean().item()
        print(f"epoch {epoch} loss {losses[-1]:.4f} val_accuracy {accuracy:.4f}")
    print_fingerprint(losses, [t for pair in weights for t in pair])


if __name__ == "__main__":
    main()
