"""The cards of findings and remedies: every one is listed with a line, and explained in full."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from child_processes import Nursery
from rich.console import Console

from unvanish.diagnose.rules import built_in
from unvanish.docgen import build_rule_entries
from unvanish.docgen.terminal import MAX_WIDTH, format_list, render_entry, render_list
from unvanish.remedies import remedy_names

NAMES_BY_KIND = {"rules": [rule.code for rule in built_in()], "remedies": remedy_names(), "engines": ["local", "ray"]}
HEADINGS = ("Sees", "Why it matters", "Known problems", "References")


def drawn(shown: object, width: int) -> list[str]:
    """The lines of something as a terminal of that width shows them."""
    console = Console(width=width, force_terminal=True, color_system=None, file=io.StringIO(), highlight=False)
    with console.capture() as captured:
        console.print(shown)
    return re.sub(r"\x1b\[[0-9;]*m", "", captured.get()).splitlines()


@pytest.mark.parametrize("kind", NAMES_BY_KIND)
def test_every_kind_is_listed_with_a_line_for_each(kind: str, tmp_path: Path, nursery: Nursery) -> None:
    listed = nursery.unvanish(tmp_path, "list", kind, "--json", "-")
    entries = json.loads(listed.out)
    assert sorted(entry["name"] for entry in entries) == sorted(NAMES_BY_KIND[kind])
    assert all(entry["summary"].endswith(".") for entry in entries)
    shown = nursery.unvanish(tmp_path, "list", kind)
    assert (listed.code, shown.code, shown.err) == (0, 0, "")
    assert [line.split()[0] for line in shown.out.decode().splitlines()] == [entry["name"] for entry in entries]
    assert all(line.endswith(".") for line in shown.out.decode().splitlines())


def test_a_list_that_goes_to_a_file_leaves_standard_output_alone(tmp_path: Path, nursery: Nursery) -> None:
    listed = nursery.unvanish(tmp_path, "list", "rules", "--json", "rules.json")
    assert (listed.code, listed.out, listed.err) == (0, b"", "")
    assert len(json.loads((tmp_path / "rules.json").read_text())) == len(NAMES_BY_KIND["rules"])


def test_a_list_that_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path, nursery: Nursery) -> None:
    refused = nursery.unvanish(tmp_path, "list", "rules", "--json", "no/such/folder.json")
    assert (refused.code, refused.out) == (2, b"")
    assert "give --json another file" in refused.err


@pytest.mark.parametrize("name", ["vanishing-gradient", "batchnorm"])
def test_a_card_says_why_it_matters_and_where_it_comes_from(name: str, tmp_path: Path, nursery: Nursery) -> None:
    card = nursery.unvanish(tmp_path, "explain", name)
    assert (card.code, card.err) == (0, "")
    lines = card.out.decode().splitlines()
    assert lines[0] == name
    assert "References" in lines


def test_a_card_of_a_remedy_shows_its_races_and_the_command_that_runs_them_again(tmp_path: Path, nursery: Nursery) -> None:
    shown = " ".join(nursery.unvanish(tmp_path, "explain", "batchnorm").out.decode().split())
    assert "Raced Helps 30 layers of sigmoid" in shown
    assert "Harms 50 layers of ReLU" in shown
    assert "python -m benchmarks.remedies batchnorm" in shown


def test_a_card_says_what_explains_the_finding_what_treats_it_and_by_which_thresholds(tmp_path: Path, nursery: Nursery) -> None:
    lines = nursery.unvanish(tmp_path, "explain", "vanishing-gradient").out.decode().splitlines()
    assert set(HEADINGS) <= set(lines)
    starts = [line.split("  ")[0] for line in lines if line[:1].isalpha() and "  " in line]
    assert starts == ["Explains", "Explained by", "Remedies"]
    assert any(line.split()[:3] == ["VANISHED", "-3", "log10,"] for line in lines)
    assert "\x1b" not in "".join(lines)
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("code", NAMES_BY_KIND["rules"])
def test_a_card_fits_the_terminal_and_keeps_its_headings_visible(code: str, width: int) -> None:
    lines = [line.rstrip() for line in drawn(render_entry(build_rule_entries()[code]), width)]
    assert lines[0] == code
    assert max(map(len, lines)) <= min(width, MAX_WIDTH)
    headings = [section.heading for section in build_rule_entries()[code].card.sections]
    assert "Sees" in headings
    assert [line for line in lines if line in headings] == headings


@pytest.mark.parametrize("width", [80, 120])
def test_a_list_in_a_terminal_is_one_line_each(width: int) -> None:
    leaves = list(build_rule_entries().values())
    lines = drawn(render_list(leaves), width)
    assert [line.split()[0] for line in lines] == [leaf.name for leaf in leaves]
    assert all(len(line) <= width and line.rstrip()[-1] in ".…" for line in lines)
    assert format_list([]) == ""


def test_a_code_that_is_misspelt_is_refused_with_the_nearest_one(tmp_path: Path, nursery: Nursery) -> None:
    for misspelt in ("vanishing-gradients", "Vanishing_Gradient"):
        refused = nursery.unvanish(tmp_path, "explain", misspelt)
        assert (refused.code, refused.out) == (2, b"")
        assert "did you mean vanishing-gradient?" in refused.err


def test_a_code_that_is_like_no_other_is_refused_with_where_to_look(tmp_path: Path, nursery: Nursery) -> None:
    refused = nursery.unvanish(tmp_path, "explain", "qqq")
    assert (refused.code, refused.out) == (2, b"")
    assert "unvanish list rules" in refused.err


def test_a_rule_is_explained_on_a_machine_without_torch() -> None:
    code = (
        "import importlib.util, sys; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "sys.modules['torch'] = None\n"
        "from unvanish.cli.main import run_app; sys.exit(run_app(['explain', 'dead-units']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[0] == "dead-units"
    assert "Remedies" not in ended.stdout
