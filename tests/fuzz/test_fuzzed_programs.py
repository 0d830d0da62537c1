"""Programs composed at random print, warn and end when they are watched as they do alone. `make fuzz` runs two hundred of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from comparison import Comparison, Ended, comparison, describe_difference
from parts import NETWORKS, PARTS, UPDATES
from programs import compose, smaller

# Ten that differ from each other in network, update, wrapper, mode, hook, fault and end, five to a process.
CHUNKS = [[0, 1, 2, 4, 5], [100, 101, 102, 104, 105]]


@pytest.fixture(scope="module")
def compared() -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder, comparison(Path(folder), samplings=(("--every", "1"),)) as processes:
        yield processes


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_fuzzed_programs_end_watched_as_they_end_alone(seeds: list[int], compared: Comparison) -> None:
    differences = {seed: compared.difference(compose(seed)) for seed in seeds}
    assert {seed: f"{compose(seed).names}: {difference}" for seed, difference in differences.items() if difference} == {}


def test_programs_are_the_same_for_a_seed_compile_and_use_every_part() -> None:
    programs = [compose(seed) for seed in range(400)]
    assert programs == [compose(seed) for seed in range(400)]
    for program in programs:
        compile(program.render(), "program.py", "exec")
    used = {part.name for program in programs for part in (program.model, program.update, *(part for part, _ in program.parts))}
    assert used == {part.name for part in (*NETWORKS, *UPDATES, *PARTS)}


def test_a_smaller_program_lacks_one_part_or_has_a_simpler_one() -> None:
    program = next(program for program in map(compose, range(100)) if len(program.parts) == 3)
    for fewer in smaller(program):
        assert len(fewer.parts) == 2 or fewer.model is NETWORKS[0] or fewer.update is UPDATES[0]


TRACEBACK = """\
Traceback
  File "/work/program.py", line 3, in <module>
    1 / 0
ZeroDivisionError: division by zero
"""
ALONE = Ended(1, "1\n2\n", TRACEBACK)
FOREIGN = ALONE.err.replace("ZeroDiv", '  File "/torch/module.py", line 9, in call\n    forward()\n    ^^^\nZeroDiv')
ENDS = {
    "the same": (ALONE, ""),
    "a frame of torch": (Ended(1, ALONE.out, FOREIGN), ""),
    "a frame of torch in a group": (
        Ended(1, ALONE.out, '  | File "/torch/module.py", line 9, in call\n  |     forward()\n  |     ^^^\n' + TRACEBACK),
        "",
    ),
    "a line of ours": (Ended(1, ALONE.out, ALONE.err + "unvanish: nothing of it could be watched\n"), ""),
    "another code": (Ended(2, ALONE.out, ALONE.err), "exit 2 instead of 1"),
    "another line": (Ended(1, "1\n3\n", ALONE.err), "standard output: '3' instead of '2'"),
    "a line more": (Ended(1, "1\n2\n3\n", ALONE.err), "'3' instead of '(its end)'"),
    "a warning": (Ended(1, ALONE.out, "UserWarning: odd\n" + ALONE.err), "standard error: 'UserWarning: odd'"),
    "an observer that gave up": (
        Ended(1, ALONE.out, ALONE.err + "unvanish: stopped watching at step 3\n"),
        "stopped watching at step 3",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_differs_is_named_and_what_may_differ_is_not(name: str) -> None:
    watched, expected = ENDS[name]
    difference = describe_difference(ALONE, watched, Path("/work"))
    assert difference == expected if not expected else expected in difference
