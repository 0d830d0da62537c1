"""The reason of a failed trial: one line, with the exception's own message, and what to do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unvanish.trials.failures import MEMORY_ADVICE, failure_line


def traceback(line: str) -> str:
    return f'a warning\nTraceback (most recent call last):\n  File "a.py", line 1, in <module>\n    f()\n    ^^^\n{line}\n'


SHAPE = traceback("ValueError: bad shape\nand a second line")
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "a.py", line 1, in <module>
  |     raise group
  | ExceptionGroup: two of them (1 sub-exception)
"""
INPUT = "asks for input: EOFError: EOF when reading a line; a trial has none; give the answer as an argument of the script"


@pytest.mark.parametrize(
    ("code", "errors", "line"),
    [
        (1, SHAPE, "crashed: ValueError: bad shape"),
        (1, SHAPE + "\nDuring handling ...\n\n" + traceback("my.Fault: bad"), "crashed: my.Fault: bad"),
        (1, traceback("KeyboardInterrupt"), "crashed: KeyboardInterrupt"),
        (1, GROUP, "crashed: ExceptionGroup: two of them (1 sub-exception)"),
        (1, traceback("unvanish.errors.NotApplicable: no sigmoid"), "not applied: no sigmoid"),
        (1, "no data\n", "ended with exit code 1: no data"),
        (2, "usage: train.py\ntrain.py: error: --data is missing\n", "ended with exit code 2: train.py: error: --data is missing"),
        (3, SHAPE + "that was handled\n", "ended with exit code 3: that was handled"),
        (3, "", "ended with exit code 3"),
        (-15, "", "killed by SIGTERM"),
        (-40, "", "killed by signal 40"),
        (-11, "", "crashed in compiled code (SIGSEGV)"),
        (1, traceback("EOFError: EOF when reading a line"), INPUT),
        (1, traceback("EOFError: Ran out of input"), "crashed: EOFError: Ran out of input"),
        (1, traceback("bdb.BdbQuit"), "stops at a breakpoint: bdb.BdbQuit; take it out, nobody is there to answer in a trial"),
        (1, traceback("KeyError: 'nan'"), "crashed: KeyError: 'nan'"),
    ],
)
def test_a_failure_has_its_reason_in_one_line(code: int, errors: str, line: str) -> None:
    assert failure_line(code, errors, steps=(1, 2), losses=np.array([1.0, 0.5])) == line


@pytest.mark.parametrize(
    "words",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.",
        "MemoryError",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory",
        "RuntimeError: DataLoader worker (pid 12) is killed by signal: Killed.",
        "OSError: [Errno 12] Cannot allocate memory",
    ],
)
def test_memory_that_ran_out_is_named_with_what_to_do(words: str) -> None:
    assert failure_line(1, traceback(words)) == f"out of memory: {words}; {MEMORY_ADVICE}"


def test_a_kill_and_a_failed_allocation_in_compiled_code_are_memory_too() -> None:
    assert failure_line(-9, SHAPE).startswith("out of memory, as it seems: killed by SIGKILL")
    assert (
        failure_line(-6, "terminate called after throwing an instance of 'std::bad_alloc'")
        == f"out of memory: std::bad_alloc; {MEMORY_ADVICE}"
    )


def test_a_script_that_ended_itself_because_of_its_loss_has_diverged() -> None:
    losses, steps = np.array([1.0, math.inf, 1.0, math.inf, math.inf]), (1, 2, 3, 5, 6)
    since = "diverged: the loss is not finite from step 5 on, and the script ended itself"
    assert failure_line(1, traceback("AssertionError"), steps=steps, losses=losses) == f"{since} (AssertionError)"
    assert failure_line(1, "stop\n", steps=steps, losses=losses) == f"{since} (exit code 1: stop)"
    assert failure_line(4, "", steps=(1,), losses=losses[1:2]) == f"{since.replace('step 5', 'step 1')} (exit code 4)"


@pytest.mark.parametrize(
    "words",
    [
        "ValueError: Input contains NaN.",
        "OverflowError: math range error",
        "RuntimeError: loss is not finite",
        "RuntimeError: got inf",
    ],
)
def test_an_exception_about_values_that_are_not_finite_is_a_divergence_once_there_was_a_step(words: str) -> None:
    assert failure_line(1, traceback(words), steps=(1,), losses=np.ones(1)) == f"diverged: {words}"
    assert failure_line(1, traceback(words)) == f"crashed: {words}"


def test_a_long_message_is_cut() -> None:
    assert len(failure_line(1, traceback("RuntimeError: " + "word " * 500))) < 250
