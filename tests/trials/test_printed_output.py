"""What a script prints is passed to the callback, and printed unchanged, however it prints."""

from __future__ import annotations

import builtins
import io
import multiprocessing
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from unvanish.record.storage.file_names import RUN_FILE
from unvanish.record.storage.journal import load
from unvanish.trials import watching_print


class Loud:
    def __str__(self) -> str:
        return "loud"


def test_what_is_printed_is_the_same_with_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    def print_variants(to: io.StringIO) -> None:
        print()
        print("a", 1, 2.5, None, sep="-", end="!\n")
        print("b", "c", sep=None, end=None, file=None, flush=True)
        print("d", file=sys.stderr)
        print("e", "f", file=to, sep="")
        print(*[])
        print(Loud(), [1, "two"], b"three")

    alone, watched = io.StringIO(), io.StringIO()
    print_variants(alone)
    expected = capsys.readouterr()
    lines: list[str] = []
    with watching_print(lines.append):
        print_variants(watched)
    assert capsys.readouterr() == expected
    assert watched.getvalue() == alone.getvalue() == "ef\n"
    assert lines == ["a-1-2.5-?", "b c", "d"]


@pytest.mark.parametrize("fault", [ValueError("theirs"), KeyboardInterrupt(), SystemExit(3)])
def test_print_is_restored_also_after_an_exception(fault: BaseException) -> None:
    original = builtins.print
    with pytest.raises(type(fault)), watching_print(lambda _: None):  # noqa: PT012
        assert builtins.print is not original
        assert builtins.print.__name__ == "print"
        raise fault
    assert builtins.print is original


@pytest.mark.parametrize("call", [lambda: print("a", sep=1), lambda: print("a", colour="red"), lambda: print("a", file=object())])
def test_arguments_that_print_refuses_raise_the_same_error(call: object) -> None:
    faults = []
    for is_watched in (False, True):
        with pytest.raises((TypeError, AttributeError)) as caught:  # noqa: PT012
            if is_watched:
                with watching_print(lambda _: None):
                    call()  # type: ignore[operator]
            else:
                call()  # type: ignore[operator]
        faults.append(str(caught.value))
    assert faults[0] == faults[1]


def test_a_value_that_is_neither_text_nor_number_is_converted_only_by_print_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """A second conversion would run code of the script."""
    conversions: list[int] = []

    class Counting:
        def __str__(self) -> str:
            conversions.append(1)
            return "counted"

    with watching_print(lambda _: None):
        print(Counting())
        print("text", Counting())
    assert capsys.readouterr().out == "counted\ntext counted\n"
    assert len(conversions) == 2


def test_a_print_with_which_the_script_replaced_the_wrapper_stays(capsys: pytest.CaptureFixture[str]) -> None:
    original, lines = builtins.print, list[str]()
    try:
        with watching_print(lines.append):
            ours = builtins.print

            def theirs(*values: object, **options: object) -> None:
                ours("[log]", *values, **options)  # type: ignore[call-overload]

            builtins.print = theirs
            print("val_acc", 0.5)
        assert builtins.print is theirs
        print("val_acc", 0.6)
        assert capsys.readouterr().out == "[log] val_acc 0.5\n[log] val_acc 0.6\n"
    finally:
        builtins.print = original
    assert lines[:1] == ["[log] val_acc 0.5"]


def test_an_exception_of_the_callback_does_not_reach_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(_: str) -> None:
        raise ZeroDivisionError

    with watching_print(fails):
        print("val_acc", 0.5)
    assert capsys.readouterr().out == "val_acc 0.5\n"


def test_numbers_of_numpy_are_passed_on() -> None:
    lines: list[str] = []
    with watching_print(lines.append):
        print("val_acc", np.float32(0.5), np.int64(3))
    assert lines == ["val_acc 0.5 3"]


def test_prints_of_threads_are_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with watching_print(lines.append):
        threads = [threading.Thread(target=print, args=("thread", i)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(lines) == [f"thread {i}" for i in range(8)]
    assert sorted(capsys.readouterr().out.split("\n"))[1:] == sorted(lines)


def child(number: int) -> None:
    print("val_acc", number)


def test_prints_of_other_processes_are_not_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with watching_print(lines.append):
        process = multiprocessing.get_context("spawn").Process(target=child, args=(7,))
        process.start()
        process.join()
    assert process.exitcode == 0
    assert capfd.readouterr().out == "val_acc 7\n"
    assert lines == []


def test_only_the_beginning_of_a_very_long_line_is_passed_on() -> None:
    lines: list[str] = []
    with watching_print(lines.append):
        print("x" * 10**6, file=sys.stderr)
    assert lines == ["x" * 2000]


SCRIPT = """
import sys, threading
import multiprocessing
import torch
from torch import nn

def worker():
    print("val_acc 0.001")

def main():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    print("val_acc 0.1 before the first step")
    for epoch in range(3):
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.ones(6, 4)).square().mean().backward()
            optimizer.step()
        print(f"epoch {epoch}", "val_acc", 0.5 + epoch / 10, sep=" ", end="\\n", flush=True)
        print("loss 0.31 val 0.44", file=sys.stderr)
        print("val_acc 0.002", file=open("log.txt", "a"))
    process = multiprocessing.get_context("fork").Process(target=worker)
    process.start()
    process.join()
    thread = threading.Thread(target=print, args=("test accuracy: 90%",))
    thread.start()
    thread.join()

if __name__ == "__main__":
    main()
"""


def test_metrics_that_a_script_prints_are_recorded_at_the_step_of_the_print(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(SCRIPT))
    commands = {
        "alone": [sys.executable, "train.py"],
        "watched": [sys.executable, "-m", "unvanish", "run", "--out", "run", "train.py"],
    }
    outputs = {}
    for name, command in commands.items():
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
        outputs[name] = done.stdout
    assert outputs["watched"] == outputs["alone"]
    run = load(tmp_path / "run" / RUN_FILE)
    assert run.facts.faults == ()
    metrics = [(m.step, m.name, m.value) for m in run.metrics]
    assert [(step, value) for step, name, value in metrics if name == "val_accuracy"] == [(0, 0.1), (5, 0.5), (10, 0.6), (15, 0.7)]
    assert [(step, value) for step, name, value in metrics if name == "val_loss"] == [(5, 0.44), (10, 0.44), (15, 0.44)]
    assert (15, "test_accuracy", 0.9) in metrics
