"""A traced gradient in the terminal: widths, bars, theory beside it, and gradients through time."""

from __future__ import annotations

import io
from dataclasses import replace

import example_flows as flows
import pytest
from rich.cells import cell_len
from rich.console import Console

from unvanish.record.gradient_flow import GradientFlow
from unvanish.record.theory_prediction import Prediction
from unvanish.report.terminal.flow import render_flow


def printed(flow: GradientFlow, prediction: Prediction | None = None, *, width: int = 80) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(render_flow(flow, prediction))
    return file.getvalue().splitlines()


WHOLE = replace(flows.make_chain(30), times=(flows.make_time_profile(40),))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("flow", [WHOLE, flows.make_residual(200), flows.make_blocked_chain()])
def test_no_line_is_wider_than_the_terminal(flow: GradientFlow, width: int) -> None:
    lines = printed(flow, flows.make_prediction(30), width=width)
    assert max(map(cell_len, lines)) <= width
    assert len(lines) < 20


def test_the_lines_show_total_kinds_blocks_depth_and_time() -> None:
    text = " ".join(" ".join(printed(WHOLE, flows.make_prediction(30))).split())
    order = [
        "Flow Measured -23.4 decades from the output to the input; theory -23.3.",
        "Kinds Sigmoid takes 17.4 of the 23.4 decades lost",
        "▏activation: sigmoid ▇",
        "Worst Spread over 30 blocks, at most 0.80 decades in one.",
        "Depth Trainable depth about 9 layers; this network has 30.",
        "Critical weight scale 1.31 (now 0.580).",
        "Time Through rnn.weight_hh_l0 the gradient loses 0.21 decades a step",
    ]
    positions = [text.index(part) for part in order]
    assert positions == sorted(positions)


def test_bars_are_as_long_as_their_decades() -> None:
    bars = [line.count("▇") for line in printed(WHOLE) if "▇" in line]
    assert bars == [24, 8]
    assert max(line.count("▇") for line in printed(WHOLE, width=120)) == 40


def test_the_worst_blocks_are_named_and_a_wide_terminal_shows_their_source() -> None:
    narrow, wide = printed(flows.make_chain(4)), printed(flows.make_chain(4), width=120)
    assert [line.split()[:4] for line in narrow if "net.4 … net.5" in line] == [["Worst", "net.4", "…", "net.5"]]
    assert not any("net.py" in line for line in narrow)
    assert any("net.4 … net.5" in line and "-0.80  examples/net.py:" in line for line in wide)


def test_a_gradient_that_ends_has_one_line_and_the_reason_without_a_prediction() -> None:
    lines = printed(flows.make_blocked_chain(), Prediction(None, reason="a residual path leads around the layers."))
    assert [line.strip() for line in lines] == [
        "Flow   No gradient at all arrives at the input; it ends at net.5.",
        "Depth  No forecast: a residual path leads around the layers.",
    ]


def test_an_unlimited_trainable_depth_is_reported() -> None:
    text = " ".join(printed(flows.make_chain(4), Prediction(-0.1, trainable_depth=float("inf"))))
    assert "Trainable depth unlimited" in text


def test_brackets_in_names_are_not_parsed_as_markup() -> None:
    flow = flows.make_chain(4)
    flow = replace(flow, ops=tuple(replace(op, op="[red]x[/red]", block=f"[b]{op.block}") for op in flow.ops))
    text = "\n".join(printed(flow))
    assert "[red]x[/red] takes" in text
    assert "[b]net.4" in text
