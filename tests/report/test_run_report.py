"""The report of a run in the terminal: verdict, reasons, places, next steps, at every width."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from example_runs import FACTS, NOTED, RACE, SCRIPT, VANISHING, make_run, make_verdict
from rich.cells import cell_len
from rich.console import Console, RenderableType

from unvanish.record.finding import Finding, Severity
from unvanish.record.races.verdict import Outcome
from unvanish.record.run import Run
from unvanish.report.terminal import run_report

LONG = replace(
    VANISHING,
    sites=tuple(f"encoder.layers.{i}.self_attn.output_projection" for i in range(9)),
    symptoms=("loss-not-decreasing", "learning-rate-too-low"),
)


def printed(part: RenderableType, width: int = 80, *, colour: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=colour, color_system="standard" if colour else None)
    console.print(part)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("finding", [VANISHING, LONG])
def test_no_line_is_wider_than_the_terminal(raced: Run, finding: Finding, width: int) -> None:
    lines = printed(run_report.render(raced, [finding, NOTED], script=SCRIPT, report_path="runs/report.html"), width)
    assert max(map(cell_len, lines)) <= width
    assert len(lines) < 40


def test_verdict_reason_place_and_advice_come_in_this_order(sick: Run) -> None:
    text = "\n".join(printed(run_report.render(sick, [VANISHING], script=SCRIPT), 120))
    order = ["● SICK", VANISHING.summary, "confidence 97 %", "Why ", "Where ", "digits_sigmoid.py:21", "Also ", "loss ▏", "Next "]
    positions = [text.index(part) for part in order]
    assert positions == sorted(positions)
    assert "loss-not-decreasing (follows from the above)" in text
    assert "unvanish fix examples/digits_sigmoid.py" in text
    assert "tries relu + he-init, batchnorm, elu" in text


def test_a_run_without_a_script_shows_the_line_that_applies_a_remedy(sick: Run) -> None:
    run = replace(sick, facts=replace(sick.facts, script=""))
    text = "\n".join(printed(run_report.render(run, [VANISHING], script=""), 120))
    assert 'unvanish.apply(model, "relu", "he-init")' in text
    assert "or batchnorm, elu" in text


def test_depth_bars_are_few_and_show_both_ends(sick: Run) -> None:
    bars = [line for line in printed(run_report.render(sick, [VANISHING], script=SCRIPT)) if "▏" in line]
    assert len(bars) == 8
    assert "net.18" in bars[0]
    assert bars[0].rstrip().endswith("1e-2")
    assert "net.0" in bars[-1]
    assert bars[-1].rstrip().endswith("1e-8")
    lengths = [line.count("▇") for line in bars]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == 24
    assert lengths[-1] > 0


def test_a_flat_gradient_is_not_drawn() -> None:
    other = replace(VANISHING, code="learning-rate-too-high")
    assert not [line for line in printed(run_report.render(make_run(), [other], script=SCRIPT)) if "▏" in line]


def test_healthy_run_is_one_line_and_the_path(healthy: Run) -> None:
    lines = [line for line in printed(run_report.render(healthy, [NOTED], script=SCRIPT, report_path="r.html")) if line.strip()]
    assert len(lines) == 2
    assert lines[0].startswith("✓ HEALTHY")
    assert "No problem found in 300 steps. Loss 2.28 → 0.133." in lines[0]
    assert lines[1] == "report  r.html"


def test_warning_is_not_called_sick(sick: Run) -> None:
    assert printed(run_report.render(sick, [replace(VANISHING, severity=Severity.WARNING)], script=SCRIPT))[0].startswith(
        "◐ UNWELL"
    )


def test_plain_text_holds_no_escape_codes(sick: Run) -> None:
    part = run_report.render(sick, [VANISHING], script=SCRIPT)
    assert "\x1b" not in "".join(printed(part))
    assert "\x1b" in "".join(printed(part, colour=True))


def test_words_in_brackets_are_not_parsed_as_markup(sick: Run) -> None:
    finding = replace(VANISHING, why="x[0] and [red]y[/red]", advice="use layers[1]", summary="[bold] it")
    text = "\n".join(printed(run_report.render(sick, [finding], script=SCRIPT)))
    assert "x[0] and [red]y[/red]" in text
    assert "use layers[1]" in text
    assert "[bold] it" in text


def test_a_script_that_failed_is_reported(healthy: Run) -> None:
    run = replace(healthy, facts=replace(FACTS, ending="ValueError"))
    assert "The script ended with ValueError at step 300." in "\n".join(printed(run_report.render(run, [], script=SCRIPT)))


def test_weights_in_unknown_layers_are_counted(healthy: Run) -> None:
    sites = tuple(replace(site, kind="other") for site in healthy.structure.sites)
    unknown = replace(healthy, structure=replace(healthy.structure, sites=sites))
    total = sum(parameter.size for parameter in healthy.structure.parameters)
    known_text, text = (
        " ".join(" ".join(printed(run_report.render(run, [], script=SCRIPT))).split()) for run in (healthy, unknown)
    )
    assert f"{total:,} of {total:,} weights lie in layers of a kind that is not known here" in text
    assert "not known here" not in known_text


def test_race_names_outcome_effect_interval_and_cost() -> None:
    lines = printed(run_report.render_race(RACE))
    row = next(line for line in lines if "batchnorm" in line)
    for part in ("0.97 ± 0.01", "● cured", "+0.87 [+0.85, +0.89]", "×1.18"):
        assert part in row
    assert any("lsuv" in line and "✕ RuntimeError at step 4" in line for line in lines)
    assert any("as it is (control)" in line and "0.10 ± 0.01" in line for line in lines)
    assert RACE.sentence in "\n".join(lines)


def test_wide_terminal_shows_more_of_a_race() -> None:
    assert "loss" not in printed(run_report.render_race(RACE), 80)[0]
    assert {"loss", "params", "seeds"} <= set(printed(run_report.render_race(RACE), 120)[0].split())


def test_race_with_long_names_fits() -> None:
    long = make_verdict("tailored-activation + delta-orthogonal-init + online-normalisation", Outcome.BETTER, 0.5, 1.0)
    lines = printed(run_report.render_race(replace(RACE, verdicts=(long, *RACE.verdicts))))
    assert max(map(cell_len, lines)) <= 80


@pytest.mark.parametrize("width", [20, 60, 80, 120])
def test_live_line_is_one_line_that_fits(width: int) -> None:
    line = run_report.render_live_line(
        240, 2.302, health="gradient vanishing at net.0 (-6.1 decades)", own_share=0.007, width=width
    )
    assert cell_len(line.plain) <= width
    assert "\n" not in line.plain


def test_live_line_shows_step_loss_health_and_own_cost() -> None:
    sick = run_report.render_live_line(240, 2.302, health="gradient vanishing at net.0 (-6.1 decades)", own_share=0.007, width=120)
    assert sick.plain == "unvanish  step 240  loss 2.302  ● gradient vanishing at net.0 (-6.1 decades)  own cost 0.7 %"
    assert "✓ nothing wrong so far" in run_report.render_live_line(1, 2.3, own_share=0.0, width=120).plain
    assert "loss not a number" in run_report.render_live_line(9, float("nan"), own_share=0.0, width=120).plain
