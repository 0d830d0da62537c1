"""Tests of edits at an optimizer's step: clipping, passed over steps and warm-up, in plain loops and where a framework steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from unvanish.errors import TrialError
from unvanish.patch import edit_sources
from unvanish.record.network_changes import Edit, EditTarget, PatchContext, Plan, PlanStep
from unvanish.record.structure import Entry, Location

PATH = Path("train.py")

LOOP = """\
import torch
from torch import nn

net = nn.Linear(4, 2)
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for x, y in batches:
    opt.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    opt.step()
"""

SCALED = (
    LOOP.replace("for x", 'scaler = torch.amp.GradScaler("cuda")\nfor x')
    .replace("    loss.backward()", "    scaler.scale(loss).backward()")
    .replace("    opt.step()\n", "    scaler.step(opt)\n    scaler.update()\n")
)

ACCELERATED = (
    LOOP.replace("import torch\n", "import torch\nfrom accelerate import Accelerator\n")
    .replace("net = ", "accelerator = Accelerator(gradient_accumulation_steps=4)\nnet = ")
    .replace("for x", "net, opt = accelerator.prepare(net, opt)\nfor x")
    .replace("    opt.zero_grad()\n", "    with accelerator.accumulate(net):\n        opt.zero_grad()\n")
    .replace("    loss = ", "        loss = ")
    .replace("    loss.backward()", "        accelerator.backward(loss)")
    .replace("    opt.step()", "        opt.step()")
)

ACCUMULATED = LOOP.replace("    opt.zero_grad()\n", "").replace(
    "    opt.step()\n", "    if last(x):\n        opt.step()\n        opt.zero_grad()\n"
)

CLIPPED, SKIPPED = "gradients clipped to length 1", "no step where a gradient is not finite"
ADAPTIVE, WARMED = "each unit's gradient clipped to 0.01 of its weights, but in head", "rate warmed up over 2000 steps"


def patched(source: str, remedy: str, *after: str, optimizers: tuple[str, ...] = ("Adam",)) -> str:
    """A source with edits of its optimizers; the same text where nothing is left to write."""
    line = next(number for number, text in enumerate(source.splitlines(), start=1) if "torch.optim." in text or "Trainer(" in text)
    edits = tuple(
        Edit("insert", "optimizer", name, f"{name}, {text}", target=EditTarget.OPTIMIZER)
        for name, text in zip(optimizers, after, strict=True)
    )
    entry = Entry(Location("train.py", line, source.splitlines()[line - 1].strip()), "net")
    plan = Plan((remedy,), (PlanStep(remedy, edits),))
    return edit_sources(plan, PatchContext(entry), lambda _: source).get(PATH, source)


def added(source: str, remedy: str, after: str) -> list[str]:
    """The lines that an edit adds, which a second time adds nothing."""
    text = patched(source, remedy, after)
    assert patched(text, remedy, after) == text
    assert "unvanish" not in text
    present = source.splitlines()
    return [line for line in text.splitlines() if line not in present]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        (LOOP, ["    nn.utils.clip_grad_norm_(net.parameters(), 1.0)"]),
        (SCALED, ["    scaler.unscale_(opt)", "    nn.utils.clip_grad_norm_(net.parameters(), 1.0)"]),
        (
            ACCELERATED,
            ["        if accelerator.sync_gradients:", "            accelerator.clip_grad_norm_(net.parameters(), 1.0)"],
        ),
        (ACCUMULATED, ["        nn.utils.clip_grad_norm_(net.parameters(), 1.0)"]),
    ],
    ids=["plain", "gradient scaler", "accelerate", "accumulation"],
)
def test_gradients_are_clipped_right_before_the_step(source: str, lines: list[str]) -> None:
    assert added(source, "clip-norm", CLIPPED) == lines
    text = patched(source, "clip-norm", CLIPPED).splitlines()
    assert "step(" in text[text.index(lines[-1]) + 1]


def test_two_optimizers_clip_each_at_its_own_step() -> None:
    source = LOOP.replace(
        "opt = torch.optim.Adam(net.parameters(), lr=1e-3)",
        "opt = torch.optim.Adam(net.parameters())\nsgd = torch.optim.SGD(net.parameters(), lr=1e-3)",
    )
    source += "    sgd.step()\n"
    text = patched(source, "clip-norm", CLIPPED, CLIPPED, optimizers=("Adam", "SGD"))
    clip = "    nn.utils.clip_grad_norm_(net.parameters(), 1.0)\n"
    assert f"{clip}    opt.step()\n{clip}    sgd.step()\n" in text


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("import lightning as L\ntrainer = L.Trainer(max_epochs=3)\n", "trainer = L.Trainer(max_epochs=3, gradient_clip_val=1.0)"),
        (
            "import transformers as tf\nargs = tf.TrainingArguments('out', max_grad_norm=100.0)\ntrainer = tf.Trainer(net, args)\n",
            "args = tf.TrainingArguments('out', max_grad_norm=1.0)",
        ),
    ],
    ids=["Lightning", "Transformers"],
)
def test_a_trainer_that_takes_the_steps_clips_by_its_own_setting(call: str, expected: str) -> None:
    assert expected in patched(call, "clip-norm", CLIPPED).splitlines()


def test_adaptive_clipping_is_a_small_function_with_its_source() -> None:
    text = patched(LOOP, "clip-adaptive", ADAPTIVE)
    assert (
        '    clip_adaptively_([p for name, p in net.named_parameters() if not name.startswith("head.")], 0.01)\n    opt.step()'
        in text
    )
    assert "arXiv 2102.06171" in text
    assert patched(text, "clip-adaptive", ADAPTIVE) == text


def test_a_step_is_taken_only_where_every_gradient_is_finite() -> None:
    condition = "    if all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None):"
    assert added(LOOP, "skip-non-finite", SKIPPED) == [condition, "        opt.step()"]


def test_a_rate_is_warmed_up_by_a_scheduler() -> None:
    scheduler = "warmup = torch.optim.lr_scheduler.LambdaLR(opt, lambda step: min(1.0, (step + 1) / 2000))"
    assert added(LOOP, "warmup", WARMED) == [scheduler, "    warmup.step()"]
    text = patched(SCALED, "warmup", WARMED)
    assert "    scaler.update()\n    warmup.step()\n" in text


def test_comments_stay_on_their_lines() -> None:
    source = LOOP.replace("lr=1e-3)", "lr=1e-3)  # tuned").replace("opt.step()", "opt.step()  # and on")
    text = patched(source, "warmup", WARMED)
    assert "lr=1e-3)  # tuned\nwarmup = " in text
    assert "    opt.step()  # and on\n    warmup.step()\n" in text


def test_a_rate_that_has_a_schedule_is_warmed_up_beside_it() -> None:
    source = LOOP.replace("for x", "decay = torch.optim.lr_scheduler.StepLR(opt, 10)\nfor x") + "    decay.step()\n"
    assert "warmup = torch.optim.lr_scheduler.LinearLR(opt, 1 / 2000, total_iters=1999)" in patched(source, "warmup", WARMED)
    cyclic = source.replace("StepLR(opt, 10)", "OneCycleLR(opt, 0.1, 100)")
    assert 'unvanish.apply(net, "warmup", optimizer=opt)' in patched(cyclic, "warmup", WARMED)


def test_transformers_warms_up_by_its_own_setting() -> None:
    call = "from transformers import TrainingArguments, Trainer\nargs = TrainingArguments('out')\ntrainer = Trainer(net, args)\n"
    assert "args = TrainingArguments('out', warmup_steps=2000)" in patched(call, "warmup", WARMED).splitlines()


def test_a_step_with_a_closure_is_left_to_a_line() -> None:
    source = LOOP.replace("opt.step()", "opt.step(closure)")
    assert "unvanish.apply(net" in patched(source, "clip-norm", CLIPPED)
    with pytest.raises(TrialError):
        patched(source.replace("opt = torch", "make(torch").replace("1e-3)", "1e-3))"), "clip-norm", CLIPPED)


SCALING = Edit("insert", "", "Linear", "Linear, gradients inside times 65536")


def test_the_loss_is_scaled_by_torchs_own_scaler_around_what_reads_gradients() -> None:
    source = LOOP.replace("    loss = ", '    with torch.autocast("cpu", torch.float16):\n        loss = ').replace(
        "    opt.step()", "    nn.utils.clip_grad_norm_(net.parameters(), 1.0)\n    opt.step()"
    )
    overflow = Edit("insert", "optimizer", "Adam", "Adam, no step after an overflow", target=EditTarget.OPTIMIZER)
    line = next(number for number, text in enumerate(source.splitlines(), start=1) if "torch.optim." in text)
    entry = Entry(Location("train.py", line, source.splitlines()[line - 1].strip()), "net")
    plan = Plan(("loss-scaling",), (PlanStep("loss-scaling", (SCALING, overflow)),))
    text = edit_sources(plan, PatchContext(entry), lambda _: source)[PATH]
    assert text == source.replace("lr=1e-3)", 'lr=1e-3)\nscaler = torch.amp.GradScaler("cpu")').replace(
        "    loss.backward()\n", "    scaler.scale(loss).backward()\n    scaler.unscale_(opt)\n"
    ).replace("    opt.step()\n", "    scaler.step(opt)\n    scaler.update()\n")
    assert edit_sources(plan, PatchContext(entry), lambda _: text) == {}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("import transformers as tf\nargs = tf.TrainingArguments('out', learning_rate=1e-3)\n", "learning_rate=1e-4)"),
        ("import transformers as tf\nargs = tf.TrainingArguments('out')\n", "TrainingArguments('out', learning_rate=5e-6)"),
        ("from skorch import NeuralNetClassifier\nnet = NeuralNetClassifier(Net, lr=0.5)\n", "NeuralNetClassifier(Net, lr=0.05)"),
    ],
)
def test_the_rate_of_a_trainer_is_its_setting(call: str, expected: str) -> None:
    entry = Entry(Location("train.py", 2, call.splitlines()[1]), "net")
    assert expected in edit_sources(Plan(("learning-rate",)), PatchContext(entry), lambda _: call, rate_factor=0.1)[PATH]
