"""Composes training programs at random from parts. The same seed gives the same program."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from parts import NETWORKS, PARTS, UPDATES, Part

STEPS = 14  # of which the default schedule samples the first ten

TEMPLATE = """\
import atexit, contextlib, copy, gc, hashlib, os, pickle, random, signal, subprocess, sys, threading, time, warnings, weakref
import numpy
import torch
from torch import nn
import torch.nn.functional as F

torch.manual_seed({seed}); random.seed({seed}); numpy.random.seed({seed})
torch.set_num_threads(1)

def digest():
    sha = hashlib.sha1()
    for tensor in (*model.parameters(), *model.buffers()):
        sha.update(tensor.detach().double().numpy().tobytes())
    sha.update(torch.get_rng_state().numpy().tobytes())
    sha.update(repr((random.getstate(), numpy.random.get_state()[1].tolist(), torch.is_grad_enabled())).encode())
    return sha.hexdigest()[:12]

def data():
    while True:
        x = torch.randn(8, 6)
        yield x, (x[:, 0] > 0).long()

def report(step, loss):
    print(step, float(loss.detach()).hex(), digest())

criterion = nn.CrossEntropyLoss()
{setup}
{model_source}
model = Net()
{model}
{optimizer_source}
{optimizer}
batches = data()

def train_step(step):
    x, y = next(batches)
{forward}
{update}
{after}
    report(step, loss)

for step in range({steps}):
{loop}
    train_step(step)
print("loop ended", digest())
{end}
print("end", digest())
"""


@dataclass(frozen=True, slots=True)
class Program:
    """A program: its seed, its network, how it updates, and its other parts with the step at which each acts."""

    seed: int
    model: Part
    update: Part
    parts: tuple[tuple[Part, int], ...]

    @property
    def names(self) -> str:
        """What it is made of."""
        return " | ".join((self.model.name, self.update.name, *(f"{part.name} @{step}" for part, step in self.parts)))

    def render(self) -> str:
        """Its source."""

        def lines(slot: str, indent: int) -> str:
            chosen = [part.slots[slot].replace("STEP", str(step)) for part, step in self.parts if slot in part.slots]
            text = "\n".join(code.strip() for code in chosen) or "pass"
            return textwrap.indent(text, " " * indent)

        return TEMPLATE.format(
            seed=self.seed,
            steps=STEPS,
            setup=lines("setup", 0),
            model_source=self.model.slots["model"].strip(),
            model=lines("model", 0),
            optimizer_source=self.update.slots.get("optimizer", "pass").strip(),
            optimizer=lines("optimizer", 0),
            forward=lines("forward", 4),
            update=self._render_update(),
            after=lines("after", 4),
            loop=lines("loop", 4),
            end=lines("end", 0),
        )

    def _render_update(self) -> str:
        """The update of the weights; the contexts of the parts go around its forward pass."""
        contexts = [part.slots["context"] for part, _ in self.parts if "context" in part.slots] or ["contextlib.nullcontext()"]
        text = self.update.slots["update"].strip().replace("CONTEXT", ", ".join(contexts))
        return textwrap.indent(text, "    ")


def compose(seed: int) -> Program:
    """The program of a seed: one network, one way of updating, and one to six other parts, of a group at most one."""
    drawn = random.Random(seed)
    model, update = drawn.choice(NETWORKS), drawn.choice(UPDATES)
    chosen: list[tuple[Part, int]] = []
    for part in drawn.sample(PARTS, drawn.randint(1, 6)):
        if all(part.goes_with(other) for other in (model, update, *(other for other, _ in chosen))):
            chosen.append((part, drawn.randrange(STEPS)))
    return Program(seed, model, update, tuple(chosen))


def smaller(program: Program) -> Sequence[Program]:
    """The programs with one part less, or with the simplest network or update, which the minimising of a failure tries."""
    fewer = [
        Program(program.seed, program.model, program.update, program.parts[:i] + program.parts[i + 1 :])
        for i in range(len(program.parts))
    ]
    if program.model is not NETWORKS[0]:
        fewer.append(Program(program.seed, NETWORKS[0], program.update, program.parts))
    if program.update is not UPDATES[0]:
        fewer.append(Program(program.seed, program.model, UPDATES[0], program.parts))
    return fewer
