"""The record of a flow: its shares by any grouping, its table, and the way to a file and back, on flows written by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unvanish.errors import UsageError
from unvanish.record.gradient_flow import GROUPINGS, FlowOp, FlowParameter, GradientFlow, Junction, TimeProfile, junction_terms
from unvanish.record.storage.serialisation import from_plain, to_plain
from unvanish.record.structure import Location

DECADES = st.floats(-50.0, 50.0)


def op(label: str, decades: float, **others: object) -> FlowOp:
    plain = FlowOp(
        label=label,
        path=label,
        op="linear",
        kind="weight",
        block=label,
        order=0,
        location=None,
        output_mean=0.0,
        output_std=1.0,
        log10_gradient_out=0.0,
        log10_gradient_in=decades,
        visits=1.0,
        decades=decades,
        size=0.0,
    )
    return replace(plain, **others)


def flow(*ops: FlowOp, junctions: tuple[Junction, ...] = (), ends: float = 0.0) -> GradientFlow:
    terms = sum(o.decades + o.size for o in ops if o.visits) + sum(j.split + j.interference for j in junctions) + ends
    return GradientFlow("Net", "output", "input", "float32", -1.0, -1.0 + terms, ops, junctions, ends)


def residual() -> GradientFlow:
    """A branch of two operations with a skip around it, and a root operation."""
    ops = (
        op("block.fc", -0.5, path="block.fc", block="block", size=-0.25),
        op(
            "block:relu",
            -0.25,
            path="block",
            block="block",
            kind="activation",
            op="relu",
            location=Location("net.py", 3, "relu(x)"),
        ),
        op("Net:mul", 1.5, path="", block="Net:mul", kind="other", op="mul"),
        op("never", -9.0, visits=0.0, block=""),
    )
    return flow(*ops, junctions=(Junction("(input)", "block", "block", 2, 1.0, 0.125, -0.0625),), ends=0.5)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (
            "op",
            {
                "block.fc": -0.5,
                "size": -0.25,
                "block:relu": -0.25,
                "Net:mul": 1.5,
                "split after (input)": 0.125,
                "interference after (input)": -0.0625,
                "ends": 0.5,
            },
        ),
        ("module", {"block.fc": -0.75, "block": -0.1875, "(network)": 1.5, "ends": 0.5}),
        (
            "kind",
            {
                "weight": -0.5,
                "size": -0.25,
                "activation": -0.25,
                "other": 1.5,
                "split": 0.125,
                "interference": -0.0625,
                "ends": 0.5,
            },
        ),
        ("block", {"block": -0.9375, "Net:mul": 1.5, "ends": 0.5}),
    ],
)
def test_shares_are_told_by_any_grouping(by: str, expected: dict[str, float]) -> None:
    assert residual().shares(by) == expected


def test_shares_come_by_block_unless_told_otherwise_and_by_nothing_unknown() -> None:
    assert residual().shares() == residual().shares("block")
    with pytest.raises(UsageError, match="no shares by 'layer'; take one of op, module, kind, block"):
        residual().shares("layer")


@given(st.lists(st.tuples(DECADES, DECADES, st.sampled_from("ab"), st.sampled_from("pq")), max_size=6), DECADES, DECADES, DECADES)
def test_shares_add_up_whatever_the_terms(
    terms: list[tuple[float, float, str, str]], split: float, interference: float, ends: float
) -> None:
    ops = [op(str(i), decades, size=size, block=block, path=path) for i, (decades, size, block, path) in enumerate(terms)]
    flow_by_hand = flow(*ops, junctions=(Junction("0", "p", "a", 2, 0.5, abs(split), interference),), ends=ends)
    for by in GROUPINGS:
        assert sum(flow_by_hand.shares(by).values()) == pytest.approx(flow_by_hand.total, abs=1e-9)


def test_a_flow_without_gradient_has_a_total_of_minus_infinity() -> None:
    dead = replace(flow(op("relu", -math.inf)), log10_target_rms=-math.inf)
    assert dead.total == dead.shares("op")["relu"] == -math.inf


def test_the_gain_of_an_operation_is_what_its_gradients_differ_by() -> None:
    assert op("a", -2.0, log10_gradient_out=-3.0, log10_gradient_in=-5.0).log10_gain == -2.0


def test_what_a_hook_did_has_a_term_of_its_own() -> None:
    hooked = Junction("fc", "", "fc", 1, 1.0, 0.0, -3.0)
    assert junction_terms(hooked) == (("hook", -3.0),)
    flow_by_hand = flow(op("fc", -1.0), junctions=(hooked,))
    assert flow_by_hand.shares("op") == {"fc": -1.0, "hook after fc": -3.0}
    assert flow_by_hand.shares("kind") == {"weight": -1.0, "hook": -3.0}
    assert "hook: on fc" in flow_by_hand.table()


def test_the_table_goes_from_the_output_back_and_names_lines() -> None:
    lines = residual().table().splitlines()
    assert lines[0].split() == ["+1.062", "from", "output", "to", "input,", "in", "decades"]
    order = [
        next(i for i, line in enumerate(lines) if text in line) for text in ("Net:mul", "block:relu", "block.fc", "split: (input)")
    ]
    assert order == sorted(order)
    assert any(line.endswith("net.py:3") and "-0.250" in line for line in lines)
    assert any("-0.250  size: the same gradient over more elements" in line for line in lines)
    assert "never" not in residual().table()


def test_the_table_leaves_out_what_changes_nothing_and_says_so() -> None:
    table = flow(op("a", -1.0), op("b", 1e-5, op="reshape", block="a"), op("c", 0.0, op="identity", block="a")).table()
    assert "reshape" not in table
    assert table.endswith("2 operations that change it by less than 0.0005 are not listed")


def test_a_flow_survives_the_way_to_a_file_and_back() -> None:
    time = TimeProfile("w", "rnn", Location("a.py", 1, "rnn(x)"), (-2.0, -1.0, -math.inf), (-1.5, -1.0), -0.5, 6.0)
    flow_by_hand = replace(
        residual(),
        loss_ops=(op("loss:mse_loss", -1.0),),
        parameters=(FlowParameter("w", (3, 4), -1.0, -math.inf),),
        times=(time,),
        notes=("detach in a passes no gradient on",),
    )
    read = from_plain(GradientFlow, json.loads(json.dumps(to_plain(flow_by_hand))))
    assert read == flow_by_hand
    assert read.times[0].steps == 3
